/* A hostile program on the network, and the ears that would hear it.
 *
 * wire send IFACE            each line of standard input is a frame in hex, which is sent as it is
 * wire watch IFACE           prints every frame that comes in with one of the marks, in hex
 * wire grab IFACE PORT COUNT prints so many UDP datagrams to a port that come by, as whole frames
 * wire listen PORT           prints every datagram with a mark that any address of this host gets
 * wire inside SOURCE6 PEER4 PEER6 GATEWAY4 BEYOND…  as root in a server: all that is tried; "done" or "refused", a tab, what, a tab, why
 *
 * "watch" and "listen" say "ready" first, and end when they are killed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX 2048
#define MARK_LEN 8
static const char *const MARKS[] = {"HOSTILE!", "INSIDE!!"};

static int fails(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static int is_marked(const unsigned char *frame, size_t length) {
    for (size_t mark = 0; mark < sizeof MARKS / sizeof *MARKS; mark++)
        if (memmem(frame, length, MARKS[mark], MARK_LEN)) return 1;
    return 0;
}

static void show(const unsigned char *frame, size_t length) {
    for (size_t at = 0; at < length; at++) printf("%02x", frame[at]);
    printf("\n");
    fflush(stdout);
}

static int packets(const char *device) {
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(device)};
    if (fd < 0 || at.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) return -1;
    int room = 16 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    return fd;
}

static int sends(const char *device) {
    int fd = packets(device);
    if (fd < 0) return fails(device);
    static char line[2 * FRAME_MAX + 2];
    unsigned char frame[FRAME_MAX];
    int sent = 0;
    while (fgets(line, sizeof line, stdin)) {
        size_t length = 0;
        for (const char *at = line; length < sizeof frame && sscanf(at, "%2hhx", &frame[length]) == 1; at += 2) length++;
        if (send(fd, frame, length, 0) != (ssize_t)length) return fails("send");
        sent++;
    }
    printf("sent %d\n", sent);
    return 0;
}

/* The next frame that comes in, or by; never one that this host sends, unless it is asked for. */
static ssize_t next(int fd, unsigned char *frame, int outgoing) {
    struct sockaddr_ll from;
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, frame, FRAME_MAX, 0, (struct sockaddr *)&from, &size);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0 || outgoing || from.sll_pkttype != PACKET_OUTGOING) return length;
    }
}

static int watches(const char *device) {
    int fd = packets(device);
    if (fd < 0) return fails(device);
    unsigned char frame[FRAME_MAX];
    printf("ready\n");
    fflush(stdout);
    for (ssize_t length; (length = next(fd, frame, 0)) >= 0;)
        if (is_marked(frame, (size_t)length)) show(frame, (size_t)length);
    return fails("receive");
}

static int grabs(const char *device, int port, int count) {
    int fd = packets(device);
    if (fd < 0) return fails(device);
    unsigned char frame[FRAME_MAX];
    alarm(20);
    for (ssize_t length; count > 0 && (length = next(fd, frame, 1)) >= 0;) {
        if (length < 42 || frame[12] != 8 || frame[13] != 0 || frame[14] != 0x45 || frame[23] != IPPROTO_UDP) continue;
        if ((frame[36] << 8 | frame[37]) != port) continue;
        show(frame, (size_t)length);
        count--;
    }
    return 0;
}

static int listens(int port) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) return fails("listen");
    unsigned char datagram[FRAME_MAX];
    printf("ready\n");
    fflush(stdout);
    for (ssize_t length; (length = recv(fd, datagram, sizeof datagram, 0)) >= 0;)
        if (is_marked(datagram, (size_t)length)) show(datagram, (size_t)length);
    return fails("receive");
}

/* From here on: what root of a server tries with the rights that it has. */

static void told(const char *what, const char *whom, int why) {
    if (why) printf("refused\t%s%s%s\t%s\n", what, *whom ? " " : "", whom, strerror(why));
    else printf("done\t%s%s%s\tlet through\n", what, *whom ? " " : "", whom);
    fflush(stdout);
}

static int outcome(long result) { return result < 0 ? errno : 0; }

static struct sockaddr_in v4(const char *address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    return to;
}

static struct sockaddr_in6 v6(const char *address, int port) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET6, address, &to.sin6_addr);
    return to;
}

/* From another's IPv4 address: the kernel sends from none that is not there, whatever it lets one bind to. */
static int from_another4(const char *source, const char *to, int option) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in from = v4(source, 0), there = v4(to, 9);
    if (setsockopt(fd, IPPROTO_IP, option, &on, sizeof on) < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) < 0) return errno;
    return outcome(sendto(fd, MARKS[0], MARK_LEN, 0, (struct sockaddr *)&there, sizeof there));
}

/* The same of IPv6, where the kernel sends: only the port is in the way. */
static int from_another6(const char *source, const char *to) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0), own = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in6 from = v6(source, 0), there = v6(to, 9);
    /* Whoever is not heard cannot ask where a neighbour is: that is to be known before. */
    sendto(own, "", 1, 0, (struct sockaddr *)&there, sizeof there);
    usleep(200000);
    if (setsockopt(fd, IPPROTO_IPV6, 78 /* IPV6_FREEBIND */, &on, sizeof on) < 0) return errno;
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) return errno;
    return outcome(sendto(fd, MARKS[0], MARK_LEN, 0, (struct sockaddr *)&there, sizeof there));
}

/* Connects to every port at once. An answer of any kind is one too many. */
static int connects(const char *address) {
    static const int ports[] = {22, 80, 443, 2379, 2380, 7443, 7444, 7445, 7446, 7447, 7448, 7449, 7450, 10809};
    enum { COUNT = sizeof ports / sizeof *ports };
    struct pollfd all[COUNT];
    for (int i = 0; i < COUNT; i++) {
        struct sockaddr_in to = v4(address, ports[i]);
        all[i] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .events = POLLOUT};
        if (connect(all[i].fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) all[i].fd = -1;
    }
    usleep(250000);
    poll(all, COUNT, 0);
    int why = ETIMEDOUT;
    for (int i = 0; i < COUNT; i++) {
        int error = 0;
        socklen_t size = sizeof error;
        if (all[i].fd < 0 || !all[i].revents) continue;
        getsockopt(all[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == 0 || error == ECONNREFUSED) why = 0;
    }
    for (int i = 0; i < COUNT; i++) if (all[i].fd >= 0) close(all[i].fd);
    return why;
}

/* Datagrams to heartbeats, lessors, directors, VXLAN and the listener: an answer, or a word that nobody listens, is one too many. */
static int asks(const char *address) {
    static const int ports[] = {9, 4789, 7445, 7446, 7447};
    /* VXLAN: a network identifier of nobody's, and an inner frame for everybody. */
    unsigned char text[64] = {8, 0, 0, 0, 0, 0x12, 0x34, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x66, 0, 0, 0, 1, 8, 0};
    memcpy(text + 40, MARKS[0], MARK_LEN);
    int why = ETIMEDOUT;
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        struct sockaddr_in to = v4(address, ports[i]);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, text, sizeof text, 0) > 0) {
            usleep(20000);
            if (recv(fd, text, sizeof text, 0) >= 0 || errno == ECONNREFUSED) why = 0;
        }
        close(fd);
    }
    return why;
}

/* A route of its own, by way of a neighbour. */
static int routes(const char *by, const char *address) {
    unsigned char option[12] = {IPOPT_NOP, IPOPT_LSRR, 11, 4};
    struct sockaddr_in first = v4(by, 9), last = v4(address, 9);
    memcpy(option + 4, &last.sin_addr, 4);
    memcpy(option + 8, &last.sin_addr, 4);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, option, sizeof option) < 0) return errno;
    return outcome(sendto(fd, MARKS[0], MARK_LEN, 0, (struct sockaddr *)&first, sizeof first));
}

static int inside(int count, char **words) {
    const char *source6 = words[0], *peer4 = words[1], *peer6 = words[2], *gateway4 = words[3];
    told("a packet socket", "", outcome(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))));
    told("a packet socket without headers", "", outcome(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ARP))));
    told("a raw socket", "", outcome(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)));
    told("a raw UDP socket", "", outcome(socket(AF_INET, SOCK_RAW, IPPROTO_UDP)));
    told("a raw ICMPv6 socket", "", outcome(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)));
    told("mark packets", "", outcome(setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_MARK, &(int){7}, sizeof(int))));
    told("send from another IPv4 address, transparently", "", from_another4(gateway4, peer4, IP_TRANSPARENT));
    told("send from another IPv4 address, bound freely", "", from_another4(gateway4, peer4, IP_FREEBIND));
    told("open a tap", "", outcome(open("/dev/net/tun", O_RDWR)));
    told("send by a route of its own", "", routes(gateway4, peer4));
    /* This the kernel lets anybody do: the port has to refuse. */
    told("send from another IPv6 address", "", from_another6(source6, peer6));
    for (int i = 4; i < count; i++) {
        told("connect to", words[i], connects(words[i]));
        told("ask", words[i], asks(words[i]));
    }
    return 0;
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "send")) return sends(words[2]);
    if (count == 3 && !strcmp(words[1], "watch")) return watches(words[2]);
    if (count == 5 && !strcmp(words[1], "grab")) return grabs(words[2], atoi(words[3]), atoi(words[4]));
    if (count == 3 && !strcmp(words[1], "listen")) return listens(atoi(words[2]));
    if (count >= 6 && !strcmp(words[1], "inside")) return inside(count - 2, words + 2);
    fprintf(stderr, "wire: see its source for how to call it\n");
    return 2;
}
