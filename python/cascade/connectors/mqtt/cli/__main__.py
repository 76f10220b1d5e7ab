from . import main

if __name__ == "__main__":  # the demo's processes import this file again, under another name
    main()
