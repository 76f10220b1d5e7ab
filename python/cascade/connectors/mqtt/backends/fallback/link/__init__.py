"""One connection, made by aiomqtt and paho: the only place that knows either of them.

aiomqtt turns options into a paho client, and paho encodes the packets of MQTT 3.1, 3.1.1 and 5, and knows the way
through a proxy. What stands here in their place, because theirs blocks, retries, is lenient, or costs a system
call a packet: ``dialling`` connects without blocking, ``websocket`` and ``frames`` do what their names say,
``sending`` gathers writes, ``link`` reads packets (``incoming``) and keeps no message for a later connection. They
rely on these internals of paho 2.1 and 2.2: ``_sock``, ``_sock_recv``, ``_sock_send``, ``_sock_close``,
``_create_socket``, ``_create_socket_connection``, ``_get_proxy``, ``_ssl_context``, ``_out_packet``, ``_packet_queue``,
``_mid_generate``, ``_send_publish``, ``_send_simple_command``, ``_send_command_with_mid``,
``_call_socket_unregister_write``; and of aiomqtt 2.4 and 2.5: ``_client``.
"""

from .link import Link, Listener, Opened

__all__ = ["Link", "Listener", "Opened"]
