/*
 * The floor under `rkt run`: the bare system calls of one pod with one app,
 * and nothing else. No parsing, no store, no pod directory, no messages; all
 * names are ready on the command line.
 *
 *     floor LOWER SCRATCH PROGRAM [ARG...]
 *
 * LOWER is an unpacked root file system, SCRATCH a directory for the overlay's
 * upper layer. Like the engine it makes a pod (new pid, mount, ipc, uts, net
 * and cgroup namespaces, a cgroup in every hierarchy the engine uses) and in it
 * an app (its own mount and cgroup namespaces, overlay, /proc, /sys, /dev,
 * masked paths, pivot_root, capability bounding set, seccomp filter, exec), and
 * takes it all down again. Exit status: the program's.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(254);
}

#define TRY(call) do { if ((call) < 0) die(#call); } while (0)

/* glibc has no wrapper for clone3. */
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};

static pid_t clone3(uint64_t flags, int cgroup)
{
    struct clone3_args args = { .flags = flags, .exit_signal = SIGCHLD };
    if (cgroup >= 0) {
        args.flags |= 1ULL << 33; /* CLONE_INTO_CGROUP */
        args.cgroup = cgroup;
    }
    return syscall(SYS_clone3, &args, sizeof args);
}

/* --- cgroups: POD and POD/app in each hierarchy, v1, hybrid or v2 ---------- */

static const char *const V1[] = { "memory", "cpu", "pids", "devices" };
static int v1_tasks[4]; /* open `tasks` files of the app's v1 cgroups */
static int v1_count;
static int v2 = -1; /* open directory of the app's v2 cgroup */
static char group_paths[5][128];
static int group_count;

/* Makes ROOT/floor-ID/app if ROOT is a hierarchy and gives its path, or NULL. */
static const char *make_cgroup(const char *root, pid_t id)
{
    char *path = group_paths[group_count];
    snprintf(path, sizeof group_paths[0], "%s/cgroup.procs", root);
    if (access(path, W_OK) < 0)
        return NULL;
    snprintf(path, sizeof group_paths[0], "%s/floor-%d", root, id);
    TRY(mkdir(path, 0755));
    strcat(path, "/app");
    TRY(mkdir(path, 0755));
    group_count++;
    return path;
}

static void make_cgroups(pid_t id)
{
    char name[128];
    const char *path;
    for (size_t i = 0; i < sizeof V1 / sizeof *V1; i++) {
        snprintf(name, sizeof name, "/sys/fs/cgroup/%s", V1[i]);
        if ((path = make_cgroup(name, id))) {
            snprintf(name, sizeof name, "%s/tasks", path);
            TRY(v1_tasks[v1_count++] = open(name, O_WRONLY | O_CLOEXEC));
        }
    }
    if (!(path = make_cgroup("/sys/fs/cgroup/unified", id)))
        path = make_cgroup("/sys/fs/cgroup", id);
    if (path)
        TRY(v2 = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/*
 * The v2 cgroup was joined by clone3. In v1, "0" into `tasks` moves only the
 * calling thread and so spares the kernel the lock that `cgroup.procs` takes,
 * which waits for an RCU grace period (milliseconds).
 */
static void join_cgroups(void)
{
    for (int i = 0; i < v1_count; i++)
        TRY(write(v1_tasks[i], "0", 1));
}

static void remove_cgroups(void)
{
    for (int i = 0; i < group_count; i++) {
        /* The kernel may need a moment to let the last task go. */
        while (rmdir(group_paths[i]) < 0 && errno == EBUSY)
            usleep(50);
        *strrchr(group_paths[i], '/') = 0;
        rmdir(group_paths[i]);
    }
}

/* --- the app --------------------------------------------------------------- */

static void mount_fs(const char *type, const char *at, unsigned attributes, const char *key,
                     const char *value)
{
    int fs, mnt;
    TRY(fs = syscall(SYS_fsopen, type, 1 /* CLOEXEC */));
    if (key)
        TRY(syscall(SYS_fsconfig, fs, 1 /* SET_STRING */, key, value, 0));
    TRY(syscall(SYS_fsconfig, fs, 6 /* CMD_CREATE */, NULL, NULL, 0));
    TRY(mnt = syscall(SYS_fsmount, fs, 1 /* CLOEXEC */, attributes));
    TRY(syscall(SYS_move_mount, mnt, "", AT_FDCWD, at, 4 /* F_EMPTY_PATH */));
    close(mnt);
    close(fs);
}

static void mount_overlay(const char *lower, const char *upper, const char *work, const char *at)
{
    int fs, mnt;
    TRY(fs = syscall(SYS_fsopen, "overlay", 1));
    TRY(syscall(SYS_fsconfig, fs, 1, "lowerdir", lower, 0));
    TRY(syscall(SYS_fsconfig, fs, 1, "upperdir", upper, 0));
    TRY(syscall(SYS_fsconfig, fs, 1, "workdir", work, 0));
    TRY(syscall(SYS_fsconfig, fs, 0 /* SET_FLAG */, "volatile", NULL, 0));
    TRY(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
    TRY(mnt = syscall(SYS_fsmount, fs, 1, 0));
    TRY(syscall(SYS_move_mount, mnt, "", AT_FDCWD, at, 4));
    close(mnt);
    close(fs);
}

static void make_dev(void)
{
    static const struct { const char *name; int major, minor; } nodes[] = {
        { "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 },
        { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
    };
    static const char *const links[][2] = {
        { "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" },
        { "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
        { "pts/ptmx", "dev/ptmx" },
    };
    mount_fs("tmpfs", "dev", 2 | 8 /* NOSUID NOEXEC */, "mode", "0755");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        TRY(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
        TRY(chmod(nodes[i].name, 0666));
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        TRY(symlink(links[i][0], links[i][1]));
    TRY(mkdir("dev/pts", 0755));
    mount_fs("devpts", "dev/pts", 2 | 8, "ptmxmode", "0666");
    TRY(mkdir("dev/shm", 01777));
    mount_fs("tmpfs", "dev/shm", 2 | 4 | 8, "mode", "1777");
    TRY(mkdir("dev/mqueue", 0755));
    mount_fs("mqueue", "dev/mqueue", 2 | 4 | 8, NULL, NULL);
}

static void mask_paths(void)
{
    static const char *const files[] = { "proc/kcore", "proc/kallsyms", "proc/timer_list", "proc/keys" };
    static const char *const dirs[] = { "sys/firmware", "sys/power", "sys/module", "proc/scsi" };
    static const char *const read_only[] = { "proc/sys", "proc/bus", "proc/sysrq-trigger", "proc/fs", "proc/irq" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (mount("dev/null", files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            die(files[i]);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        if (mount("tmpfs", dirs[i], "tmpfs", MS_RDONLY, "size=0") < 0 && errno != ENOENT)
            die(dirs[i]);
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            die(read_only[i]);
        }
        TRY(mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    }
}

static void limit_capabilities(void)
{
    const uint64_t keep = 0xa80425fb; /* appc's fourteen */
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { 0, 0, 0 } };
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(cap < 64 && (keep >> cap & 1)))
            TRY(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
    TRY(syscall(SYS_capset, &header, data));
}

/* A filter of the size that a list of some 300 allowed calls compiles to. */
static void install_filter(void)
{
    static struct sock_filter code[512];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned nr = 0; nr < 300; nr++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1000 + nr, 0, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { n, code };
    TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void app(const char *lower, const char *scratch, char **argv)
{
    char upper[256], work[256], root[256];
    snprintf(upper, sizeof upper, "%s/upper", scratch);
    snprintf(work, sizeof work, "%s/work", scratch);
    snprintf(root, sizeof root, "%s/rootfs", scratch);
    join_cgroups();
    TRY(unshare(CLONE_NEWCGROUP));
    mount_overlay(lower, upper, work, root);
    TRY(chdir(root));
    mount_fs("proc", "proc", 2 | 4 | 8, NULL, NULL);
    mount_fs("sysfs", "sys", 1 | 2 | 4 | 8, NULL, NULL);
    make_dev();
    mask_paths();
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    install_filter(); /* while CAP_SYS_ADMIN is still there */
    limit_capabilities();
    TRY(syscall(SYS_close_range, 3, ~0U, 4 /* CLOEXEC */));
    execv(argv[0], argv);
    die(argv[0]);
}

/* --- the pod ---------------------------------------------------------------- */

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
}

static void loopback_up(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int fd;
    TRY(fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    TRY(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static int pod(const char *lower, const char *scratch, char **argv)
{
    pid_t pid;
    TRY(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    TRY(sethostname("floor", 5));
    loopback_up();
    TRY(pid = clone3(CLONE_NEWNS, v2));
    if (pid == 0)
        app(lower, scratch, argv);
    return wait_for(pid);
}

int main(int argc, char **argv)
{
    char scratch[128], path[160];
    static const char *const dirs[] = { "/upper", "/work", "/rootfs" };
    pid_t pid;

    if (argc < 4) {
        fprintf(stderr, "usage: floor LOWER SCRATCH PROGRAM [ARG...]\n");
        return 2;
    }
    snprintf(scratch, sizeof scratch, "%s/%d", argv[2], getpid());
    TRY(mkdir(scratch, 0700));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", scratch, dirs[i]);
        TRY(mkdir(path, 0755));
    }
    make_cgroups(getpid());
    TRY(pid = clone3(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP, -1));
    if (pid == 0)
        _exit(pod(argv[1], scratch, argv + 3));
    int code = wait_for(pid);
    remove_cgroups();
    /* The pod directory stays for gc, as rkt's does. */
    return code;
}
