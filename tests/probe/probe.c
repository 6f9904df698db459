/*
 * What an app can see and do, asked of the kernel by the app itself.
 *
 * Each argument is a question, words with a space between; the answers go to
 * standard output as one JSON object whose keys are the questions. A call that
 * is tried is tried in a child, for a filter may kill who makes it.
 *
 * C, and not Rust: it has to make calls that no safe interface offers, and
 * only the crate `sys` may make them unsafely. Static, so that it runs in an
 * image with nothing else in it. tests/build.rs compiles it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Words of the question; those after the last are null. */
#define WORDS 8
static char *word[WORDS + 1];

static void json(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const void *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7f)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

static const char *name_of(int error) {
    const char *name = strerrorname_np(error);
    return name ? name : "E?";
}

static void result(long value) { json(value < 0 ? name_of(errno) : "ok"); }

static char text[1 << 20];

/* Reads a whole file, without the newline at its end and with blanks for
 * NULs; -1 with errno. */
static long slurp(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    long length = 0, n;
    while ((n = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += n;
    close(fd);
    if (n < 0)
        return -1;
    for (long i = 0; i < length; i++)
        if (!text[i])
            text[i] = ' ';
    text[length] = 0;
    if (length && text[length - 1] == '\n')
        text[--length] = 0;
    return length;
}

static void read_file(void) {
    if (slurp(word[1]) < 0)
        json(name_of(errno));
    else
        json(text);
}

/* Writes what is there already, so that success changes nothing. */
static void rewrite(void) {
    if (slurp(word[1]) < 0)
        text[0] = 0;
    int fd = open(word[1], O_WRONLY | O_CLOEXEC);
    result(fd < 0 ? -1 : write(fd, text, strlen(text)));
    if (fd >= 0)
        close(fd);
}

static void write_file(void) {
    int fd = open(word[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    result(fd < 0 ? -1 : write(fd, word[2], strlen(word[2])));
    if (fd >= 0)
        close(fd);
}

static void open_file(void) {
    int flags = !strcmp(word[2], "rw") ? O_RDWR : !strcmp(word[2], "w") ? O_WRONLY : O_RDONLY;
    int fd = open(word[1], flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    result(fd);
    if (fd >= 0)
        close(fd);
}

/* TYPE MODE UID GID[ MAJOR:MINOR], as "d 755 0 0". */
static void stat_file(void) {
    struct stat s;
    if (lstat(word[1], &s) < 0)
        return json(name_of(errno));
    const char *types = "?pc?d?b?-?l?s???";
    int length = sprintf(text, "%c %o %u %u", types[(s.st_mode >> 12) & 15], s.st_mode & 07777,
                         s.st_uid, s.st_gid);
    if (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode))
        sprintf(text + length, " %u:%u", (unsigned)(s.st_rdev >> 8) & 0xfff,
                (unsigned)s.st_rdev & 0xff);
    json(text);
}

static void list(void) {
    struct dirent **names;
    int count = scandir(word[1], &names, NULL, alphasort);
    if (count < 0)
        return json(name_of(errno));
    const char *between = "";
    putchar('[');
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i]->d_name, ".") && strcmp(names[i]->d_name, "..")) {
            fputs(between, stdout);
            json(names[i]->d_name);
            between = ",";
        }
    }
    putchar(']');
}

static void link_of(void) {
    long length = readlink(word[1], text, sizeof text - 1);
    if (length < 0)
        return json(name_of(errno));
    text[length] = 0;
    json(text);
}

/* The rest of the line of a file that begins with these words, its blanks
 * made single spaces. */
static void line_of(const char *path, const char *begin) {
    if (slurp(path) < 0)
        return json(name_of(errno));
    size_t length = strlen(begin);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, begin, length))
            continue;
        char *from = line + length, *to = from;
        for (char *c = from; *c; c++)
            if (!isspace((unsigned char)*c))
                *to++ = *c;
            else if (to > from && to[-1] != ' ')
                *to++ = ' ';
        while (to > from && to[-1] == ' ')
            to--;
        *to = 0;
        return json(from);
    }
    fputs("null", stdout);
}

/* Capabilities that a process has and that it could have. */
static void privileges(void) {
    char path[64], *permitted, *bounding;
    snprintf(path, sizeof path, "/proc/%s/status", word[1]);
    if (slurp(path) < 0 || !(permitted = strstr(text, "CapPrm:\t")) ||
        !(bounding = strstr(text, "CapBnd:\t")))
        return json(name_of(errno));
    static char both[64];
    snprintf(both, sizeof both, "%.16s %.16s", permitted + 8, bounding + 8);
    json(both);
}

/* The topmost mount at a path: "TYPE OPTIONS[ PROPAGATION]", or null. */
static void mount_at(void) {
    if (slurp("/proc/self/mountinfo") < 0)
        return json(name_of(errno));
    static char found[4096];
    found[0] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char target[2048], options[512], tags[512] = "", type[64];
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %*s %2047s %511s %511[^-]", target, options, tags) < 2)
            continue;
        sscanf(dash, " - %63s", type);
        if (strcmp(target, word[1]))
            continue;
        char *tag = strtok_r(tags, ": ", &(char *){NULL});
        snprintf(found, sizeof found, "%s %s%s%s", type, options, tag ? " " : "", tag ? tag : "");
    }
    if (found[0])
        json(found);
    else
        fputs("null", stdout);
}

static void environment(void) {
    putchar('[');
    for (char **entry = environ; *entry; entry++) {
        if (entry != environ)
            putchar(',');
        json(*entry);
    }
    putchar(']');
}

static const struct {
    const char *name;
    long number;
} CALLS[] = {
#define CALL(name) {#name, SYS_##name}
    CALL(acct), CALL(add_key), CALL(adjtimex), CALL(bpf), CALL(chroot), CALL(clock_settime),
    CALL(clone), CALL(clone3), CALL(delete_module), CALL(fchownat), CALL(fsopen), CALL(getpid),
    CALL(init_module), CALL(io_uring_setup), CALL(kcmp), CALL(kexec_load), CALL(keyctl),
    CALL(kill), CALL(mount), CALL(open_tree), CALL(perf_event_open), CALL(pivot_root),
    CALL(ptrace), CALL(quotactl), CALL(reboot), CALL(request_key), CALL(setgid),
    CALL(sethostname), CALL(setns), CALL(settimeofday), CALL(setuid), CALL(socket), CALL(swapoff),
    CALL(swapon), CALL(sync), CALL(syslog), CALL(umount2), CALL(unshare), CALL(userfaultfd),
    CALL(vhangup), CALL(wait4),
/* The older calls, which younger machines do not have. */
#ifdef __x86_64__
    CALL(chmod), CALL(chown), CALL(ioperm), CALL(iopl), CALL(mkdir), CALL(mknod),
    CALL(nfsservctl), CALL(sysfs), CALL(unlink), CALL(uselib), CALL(ustat),
#endif
};

/* A number, "-" for a null pointer, or the word itself. */
static long argument(char *of) {
    if (!of || !strcmp(of, "-"))
        return 0;
    char *end;
    long number = strtol(of, &end, 0);
    return *end || !*of ? (long)of : number;
}

static long call(void) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        if (!strcmp(CALLS[i].name, word[1])) {
            long made = syscall(CALLS[i].number, argument(word[2]), argument(word[3]),
                                argument(word[4]), argument(word[5]), argument(word[6]),
                                argument(word[7]));
            /* The other side of a clone that succeeded. */
            if (!strncmp(word[1], "clone", 5) && made == 0)
                _exit(0);
            return made;
        }
    fprintf(stderr, "probe: unknown call %s\n", word[1]);
    _exit(99);
}

/* Takes so many MiB of memory. */
static long hog(void) {
    size_t size = strtoul(word[1], NULL, 0) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    memset(memory, 1, size);
    return 0;
}

/* Starts so many processes. */
static long forks(void) {
    for (int left = atoi(word[1]); left > 0; left--) {
        pid_t pid = fork();
        if (pid < 0)
            return -1;
        if (pid == 0)
            for (;;)
                pause();
    }
    return 0;
}

/* Connects to an abstract socket. */
static long connect_abstract(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(word[1]);
    memcpy(address.sun_path + 1, word[1], length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -1
                  : connect(fd, (void *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* Types characters into the terminal behind a descriptor. */
static long type_into(void) {
    for (char *c = word[2]; *c; c++)
        if (ioctl(atoi(word[1]), TIOCSTI, c) < 0)
            return -1;
    return 0;
}

/* For so many seconds, tries to change the mode of every program but this one
 * that is executed in the pod. */
static long seize(void) {
    for (time_t end = time(NULL) + atoi(word[1]); time(NULL) < end;) {
        DIR *processes = opendir("/proc");
        for (struct dirent *entry; processes && (entry = readdir(processes));) {
            char path[300], target[300] = "";
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            int exe = atoi(entry->d_name) < 2 ? -1 : open(path, O_PATH | O_CLOEXEC);
            if (exe < 0)
                continue;
            snprintf(path, sizeof path, "/proc/self/fd/%d", exe);
            if (readlink(path, target, sizeof target - 1) > 0 && strcmp(target, "/probe") &&
                chmod(path, 0777) == 0)
                return 0;
            close(exe);
        }
        if (processes)
            closedir(processes);
    }
    errno = ETIME;
    return -1;
}

/* Executes a program from a session with a keyring of its own, in which there
 * is a key. Not asked inside an app, but before it. */
static int carry(char **program) {
    if (syscall(SYS_keyctl, 1 /* join session */, NULL) < 0 ||
        syscall(SYS_add_key, "user", "probe-secret", "x", 1, -3) < 0)
        return perror("probe: keys"), 98;
    execv(program[0], program);
    return perror(program[0]), 98;
}

/* Tries something in a child: "ok", the error's name or the signal's. */
static void try(long (*what)(void)) {
    fflush(stdout);
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return json(name_of(errno));
    pid_t pid = fork();
    if (pid < 0)
        return json(name_of(errno));
    if (pid == 0) {
        setpgid(0, 0);
        int error = what() < 0 ? errno : 0;
        if (write(pipes[1], &error, sizeof error) < 0)
            _exit(1);
        _exit(0);
    }
    close(pipes[1]);
    int error = 0, status;
    long n = read(pipes[0], &error, sizeof error);
    close(pipes[0]);
    kill(-pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (n == sizeof error) {
        json(error ? name_of(error) : "ok");
    } else if (WIFSIGNALED(status)) {
        sprintf(text, "SIG%s", sigabbrev_np(WTERMSIG(status)));
        json(text);
    } else {
        json("failed");
    }
}

/* Asks another program the rest of the question; what it prints is the answer. */
static void ask_other(char *question) {
    char *rest = strchr(question, ' ');
    rest = rest ? strchr(rest + 1, ' ') : NULL;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl(word[1], word[1], rest ? rest + 1 : "", NULL);
        json(name_of(errno));
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        json(strsignal(WTERMSIG(status)));
}

static void answer(char *question) {
    static char copy[4096];
    snprintf(copy, sizeof copy, "%s", question);
    int count = 0;
    memset(word, 0, sizeof word);
    for (char *w = strtok(copy, " "); w && count < WORDS; w = strtok(NULL, " "))
        word[count++] = w;
    const char *what = word[0] ? word[0] : "";
    /* The status and the limits are of lines whose names have blanks. */
    char *rest = strchr(question, ' ');
    rest = rest ? rest + 1 : "";
    char begin[256];
    if (!strcmp(what, "read"))
        read_file();
    else if (!strcmp(what, "rewrite"))
        rewrite();
    else if (!strcmp(what, "write"))
        write_file();
    else if (!strcmp(what, "open"))
        open_file();
    else if (!strcmp(what, "stat"))
        stat_file();
    else if (!strcmp(what, "list"))
        list();
    else if (!strcmp(what, "link"))
        link_of();
    else if (!strcmp(what, "status")) {
        snprintf(begin, sizeof begin, "%s:", rest);
        line_of("/proc/self/status", begin);
    } else if (!strcmp(what, "limit"))
        line_of("/proc/self/limits", rest);
    else if (!strcmp(what, "privileges"))
        privileges();
    else if (!strcmp(what, "mount"))
        mount_at();
    else if (!strcmp(what, "environment"))
        environment();
    else if (!strcmp(what, "directory"))
        json(getcwd(text, sizeof text) ? text : name_of(errno));
    else if (!strcmp(what, "hostname")) {
        struct utsname name;
        uname(&name);
        json(name.nodename);
    } else if (!strcmp(what, "call"))
        try(call);
    else if (!strcmp(what, "hog"))
        try(hog);
    else if (!strcmp(what, "forks"))
        try(forks);
    else if (!strcmp(what, "connect"))
        try(connect_abstract);
    else if (!strcmp(what, "type"))
        try(type_into);
    else if (!strcmp(what, "seize"))
        try(seize);
    else if (!strcmp(what, "as"))
        ask_other(question);
    else {
        fprintf(stderr, "probe: unknown question %s\n", question);
        exit(99);
    }
}

int main(int count, char **questions) {
    if (count > 2 && !strcmp(questions[1], "carry"))
        return carry(questions + 2);
    /* One question of another probe's: the bare answer. */
    if (strcmp(questions[0], "/probe")) {
        answer(questions[1]);
        return 0;
    }
    /* The last question may be to stay, for the test to look from outside. */
    int stay = count > 1 && !strcmp(questions[count - 1], "stay");
    putchar('{');
    for (int i = 1; i < count - stay; i++) {
        if (i > 1)
            putchar(',');
        json(questions[i]);
        putchar(':');
        answer(questions[i]);
    }
    puts("}");
    fflush(stdout);
    while (stay)
        pause();
    return 0;
}
