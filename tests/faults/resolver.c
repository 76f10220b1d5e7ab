/* Name resolution in the hands of a test, by LD_PRELOAD. Every name is 127.0.0.1, except that it is not
 * found while the file $RESOLVER/down exists, and not answered while $RESOLVER/slow exists. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int is_there(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("RESOLVER"), name);
    return access(path, F_OK) == 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    struct in_addr address;
    int is_numeric = hints != NULL && (hints->ai_flags & AI_NUMERICHOST);
    if (node == NULL || is_numeric || inet_pton(AF_INET, node, &address) == 1)
        return real(node, service, hints, found);
    while (is_there("slow"))
        usleep(10000);
    return is_there("down") ? EAI_AGAIN : real("127.0.0.1", service, hints, found);
}
