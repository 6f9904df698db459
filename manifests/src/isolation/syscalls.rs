//! Names of system calls, by purpose.
//!
//! The two default lists are rkt's, which are Docker's of 2016; `@systemd`
//! groups are what systemd 252 says of them (`systemd-analyze syscall-filter`).
//! Names that a machine does not have are skipped when the filter is compiled.

/// rkt's and Docker's default list of calls that are allowed.
pub(super) const DEFAULT_ALLOWED: &str = "
    accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown chown32
    chroot clock_getres clock_gettime clock_nanosleep clone close connect copy_file_range
    creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
    epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32
    fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr
    fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futimesat
    get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32
    geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32
    getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
    io_destroy io_getevents io_setup io_submit ioctl ioprio_get ioprio_set ipc kill lchown
    lchown32 lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek
    lsetxattr lstat lstat64 madvise memfd_create mincore mkdir mkdirat mknod mknodat mlock
    mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap nanosleep newfstatat _newselect open openat pause personality pipe
    pipe2 poll ppoll prctl pread64 preadv prlimit64 pselect6 pwrite64 pwritev read readahead
    readlink readlinkat readv recv recvfrom recvmmsg recvmsg remap_file_pages removexattr
    rename renameat renameat2 restart_syscall rmdir rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
    semop semtimedop send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
    setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigreturn socket socketcall socketpair splice stat stat64 statfs statfs64 symlink
    symlinkat sync sync_file_range syncfs sysinfo syslog tee tgkill time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
    utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev
";

/// The same list's additions on arm and arm64.
pub(super) const DEFAULT_ALLOWED_ARM: &str = "
    arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2
";

/// What kernels and C libraries have put in the place of calls of the default
/// list since 2016 (64-bit times, `statx`, `clone3`, …), or a process does to
/// itself alone (`rseq`, `pkey_mprotect`, Landlock). Without them no program
/// of today starts.
pub(super) const DEFAULT_ALLOWED_SINCE: &str = "
    cachestat clock_getres_time64 clock_gettime64 clock_nanosleep_time64 clone3 close_range
    epoll_pwait2 faccessat2 fchmodat2 futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake getxattrat io_pgetevents io_pgetevents_time64 landlock_add_rule
    landlock_create_ruleset landlock_restrict_self listxattrat map_shadow_stack membarrier
    mq_timedreceive_time64 mq_timedsend_time64 mseal openat2 pidfd_open pidfd_send_signal
    pkey_alloc pkey_free pkey_mprotect ppoll_time64 preadv2 process_mrelease pselect6_time64
    pwritev2 recvmmsg_time64 removexattrat riscv_flush_icache riscv_hwprobe rseq
    rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 setxattrat statx
    timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64
";

/// rkt's and Docker's default list of calls that are denied.
pub(super) const DEFAULT_DENIED: &str = "
    acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module
    finit_module get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load
    kexec_load keyctl lookup_dcookie mbind mount move_pages name_to_handle_at nfsservctl
    open_by_handle_at perf_event_open pivot_root process_vm_readv process_vm_writev ptrace
    query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapoff
    swapon _sysctl sysfs umount umount2 unshare uselib userfaultfd ustat vm86 vm86old
";

/// What a list of allowed calls allows besides: a process must be able to
/// begin, to return from a signal and to end. Reading the clock is among it
/// because systemd had it so; the last line is what a C library of today does
/// before `main`.
pub(super) const LIFE_CYCLE: &str = "
    execve exit exit_group getrlimit prlimit64 rt_sigreturn sigreturn
    clock_getres clock_getres_time64 clock_gettime clock_gettime64 gettimeofday time
    rseq set_robust_list set_tid_address
";

/// systemd's `@clock`.
pub(super) const SYSTEMD_CLOCK: &str = "
    adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday
";

/// systemd's `@default`.
pub(super) const SYSTEMD_DEFAULT: &str = "
    arch_prctl brk cacheflush clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 execve exit exit_group futex futex_time64
    futex_waitv get_robust_list get_thread_area getegid getegid32 geteuid geteuid32 getgid
    getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getsid gettid gettimeofday getuid getuid32
    membarrier mmap mmap2 mprotect munmap nanosleep pause prlimit64 restart_syscall
    riscv_flush_icache riscv_hwprobe rseq rt_sigreturn sched_getaffinity sched_yield
    set_robust_list set_thread_area set_tid_address set_tls sigreturn time ugetrlimit
    uretprobe
";

/// systemd's `@mount`.
pub(super) const SYSTEMD_MOUNT: &str = "
    chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree
    pivot_root umount umount2
";

/// systemd's `@network-io`.
pub(super) const SYSTEMD_NETWORK_IO: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket
    socketcall socketpair
";

/// systemd's `@obsolete`.
pub(super) const SYSTEMD_OBSOLETE: &str = "
    _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle
    lock mpx prof profil putpmsg query_module security sgetmask ssetmask stime stty sysfs
    tuxcall ulimit uselib ustat vserver
";

/// systemd's `@privileged`.
pub(super) const SYSTEMD_PRIVILEGED: &str = "
    _sysctl acct adjtimex bpf capset chown chown32 chroot clock_adjtime clock_adjtime64
    clock_settime clock_settime64 delete_module fanotify_init fanotify_mark fchown fchown32
    fchownat finit_module init_module ioperm iopl kexec_file_load kexec_load lchown lchown32
    nfsservctl open_by_handle_at pciconfig_iobase pciconfig_read pciconfig_write pivot_root
    quotactl quotactl_fd reboot s390_pci_mmio_read s390_pci_mmio_write setdomainname
    setfsuid setfsuid32 setgroups setgroups32 sethostname setresuid setresuid32 setreuid
    setreuid32 settimeofday setuid setuid32 swapoff swapon vhangup
";

/// systemd's `@process`.
pub(super) const SYSTEMD_PROCESS: &str = "
    capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl
    rt_sigqueueinfo rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork
    wait4 waitid waitpid
";

/// systemd's `@raw-io`.
pub(super) const SYSTEMD_RAW_IO: &str = "
    ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read
    s390_pci_mmio_write
";
