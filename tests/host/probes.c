// Tries, one after the other, what a confined program must not be able to do, each in a process of its own.
// A line for each: its name, and OPEN or the error that the kernel gave. Arguments: a folder that was not
// granted, one that was, a process of the person, and where somebody listens.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fanotify.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *outside, *inside, *tools;
static pid_t person;
static int tcp_port, udp_port;
static const char *abstract_name;
static char first[512], second[512];

static const char *out(const char *name) {
  snprintf(first, sizeof first, "%s/%s", outside, name);
  return first;
}
static const char *in(const char *name) {
  snprintf(second, sizeof second, "%s/%s", inside, name);
  return second;
}
static const char *of_person(const char *name) {
  snprintf(first, sizeof first, "/proc/%d/%s", person, name);
  return first;
}
// What a call gave: 0 where it worked.
static int was(long result) { return result < 0 ? errno : 0; }
static int opened(const char *path, int flags) {
  int fd = open(path, flags, 0600);
  char byte;
  if (fd < 0) return errno;
  if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_PATH | O_DIRECTORY))) return was(read(fd, &byte, 1));
  return 0;
}
static int listed(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return errno;
  return readdir(folder) ? 0 : ENOENT;
}
// Runs a program, and says whether it ran to a good end.
static int ran(const char *path, char *const arguments[]) {
  pid_t child = fork();
  if (child == 0) {
    execv(path, arguments);
    _exit(errno);
  }
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}
static int made(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT, 0700);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
static int copied(const char *from, const char *to) {
  int source = open(from, O_RDONLY), target = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
  char bytes[65536];
  ssize_t count;
  if (source < 0 || target < 0) return errno;
  while ((count = read(source, bytes, sizeof bytes)) > 0)
    if (write(target, bytes, count) != count) return EIO;
  close(source);
  close(target);
  return 0;
}

// Files.
static int read_secret(void) { return opened(out("secret"), O_RDONLY); }
static int read_users(void) { return opened("/etc/passwd", O_RDONLY); }
static int read_through_proc(void) {
  snprintf(first, sizeof first, "/proc/self/root%s/secret", outside);
  return opened(first, O_RDONLY);
}
static int read_by_openat2(void) {
  struct open_how how = {.flags = O_RDONLY};
  return was(syscall(SYS_openat2, AT_FDCWD, out("secret"), &how, sizeof how));
}
static int read_through_link(void) {
  if (symlink(out("secret"), in("way")) < 0 && errno != EEXIST) return errno;
  return opened(in("way"), O_RDONLY);
}
static int read_by_child(void) {
  char *arguments[] = {"cat", (char *)out("secret"), NULL};
  int null = open("/dev/null", O_RDWR);
  dup2(null, 1);
  dup2(null, 2);
  return ran("/bin/cat", arguments);
}
static int list_outside(void) { return listed(outside); }
static int stat_secret(void) {
  struct stat found;
  return was(stat(out("secret"), &found));
}
static int statx_secret(void) {
  struct statx found;
  return was(statx(AT_FDCWD, out("secret"), 0, STATX_ALL, &found));
}
static int access_secret(void) { return was(access(out("secret"), F_OK)); }
static int hold_secret(void) { return opened(out("secret"), O_PATH); }
static int go_outside(void) { return was(chdir(outside)); }
static int read_link(void) { return was(readlink(out("link"), second, sizeof second)); }
static int statfs_outside(void) {
  struct statfs found;
  return was(statfs(outside, &found));
}
static int list_marks(void) { return was(listxattr(out("secret"), NULL, 0)); }
static int watch_outside(void) {
  int watching = inotify_init1(0);
  return watching < 0 ? errno : was(inotify_add_watch(watching, outside, IN_ALL_EVENTS));
}
static int watch_more(void) {
  int watching = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
  return watching < 0 ? errno : was(fanotify_mark(watching, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, out("secret")));
}
static int handle_of_secret(void) {
  struct { struct file_handle handle; char rest[128]; } of = {.handle.handle_bytes = 128};
  int mount;
  return was(name_to_handle_at(AT_FDCWD, out("secret"), &of.handle, &mount, 0));
}
static int run_outside(void) {
  char *arguments[] = {"true", NULL};
  return ran(out("program"), arguments);
}
static int write_new(void) { return opened(out("new"), O_WRONLY | O_CREAT); }
static int write_there(void) { return opened(out("written"), O_WRONLY); }
static int truncate_there(void) { return was(truncate(out("truncated"), 1)); }
static int unlink_there(void) { return was(unlink(out("unlinked"))); }
static int remove_folder(void) { return was(rmdir(out("removed"))); }
static int make_folder(void) { return was(mkdir(out("made"), 0700)); }
static int make_link(void) { return was(symlink("secret", out("another-link"))); }
static int make_pipe(void) { return was(mkfifo(out("pipe"), 0600)); }
static int rename_out(void) { return made(in("mine")) ? EIO : was(rename(in("mine"), out("renamed"))); }
static int rename_in(void) { return was(rename(out("taken"), in("taken"))); }
static int exchange(void) {
  if (made(in("exchanged"))) return EIO;
  return was(renameat2(AT_FDCWD, in("exchanged"), AT_FDCWD, out("exchanged"), RENAME_EXCHANGE));
}
static int link_in(void) { return was(link(out("secret"), in("linked"))); }
static int link_out(void) { return made(in("own")) ? EIO : was(link(in("own"), out("linked"))); }
static int change_mode(void) { return was(chmod(out("secret"), 0644)); }
static int change_owner(void) { return was(chown(out("secret"), getuid(), getgid())); }
static int change_times(void) { return was(utimes(out("secret"), NULL)); }
static int change_marks(void) { return was(setxattr(out("secret"), "user.mark", "x", 1, 0)); }
static int write_temporary(void) {
  snprintf(first, sizeof first, "/tmp/.probe-%d", getpid());
  int error = opened(first, O_WRONLY | O_CREAT);
  unlink(first);
  return error;
}
static int write_unnamed(void) { return opened("/tmp", O_TMPFILE | O_RDWR); }
static int write_shared_memory(void) {
  snprintf(first, sizeof first, "/dev/shm/.probe-%d", getpid());
  int error = opened(first, O_WRONLY | O_CREAT);
  unlink(first);
  return error;
}
static int open_terminal(void) { return opened("/dev/ptmx", O_RDWR | O_NOCTTY); }
static int inherited_file(void) {
  char byte;
  return was(pread(7, &byte, 1, 0));
}
static int inherited_folder(void) { return was(openat(8, "secret", O_RDONLY)); }
static int inherited_again(void) { return opened("/proc/self/fd/7", O_RDONLY); }

// Processes.
static int see_process(void) { return was(getpgid(person)); }
static int its_variables(void) { return opened(of_person("environ"), O_RDONLY); }
static int its_words(void) { return opened(of_person("cmdline"), O_RDONLY); }
static int its_folder(void) { return was(readlink(of_person("cwd"), second, sizeof second)); }
static int its_memory(void) { return opened(of_person("mem"), O_RDWR); }
static int its_map(void) { return opened(of_person("maps"), O_RDONLY); }
static int its_root(void) { return listed(of_person("root/")); }
static int its_files(void) { return listed(of_person("fd")); }
static int trace(void) {
  if (ptrace(PTRACE_SEIZE, person, 0, 0) < 0) return errno;
  ptrace(PTRACE_DETACH, person, 0, 0);
  return 0;
}
static int read_memory(void) {
  char byte;
  struct iovec own = {&byte, 1}, of = {(void *)8, 1};
  errno = 0;
  process_vm_readv(person, &own, 1, &of, 1, 0);
  // There is nothing at that address: to be told so is to be let in.
  return errno == EFAULT ? 0 : errno;
}
static int pidfd(void) { return (int)syscall(SYS_pidfd_open, person, 0); }
static int take_descriptor(void) {
  int fd = pidfd();
  return fd < 0 ? errno : was(syscall(SYS_pidfd_getfd, fd, 7, 0));
}
static int signal_by_descriptor(void) {
  int fd = pidfd();
  return fd < 0 ? errno : was(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
}
static int signal_it(void) { return was(kill(person, 0)); }
static int signal_thread(void) { return was(syscall(SYS_tgkill, person, person, 0)); }
static int signal_queue(void) {
  union sigval value = {0};
  return was(sigqueue(person, 0, value));
}
static int its_limits(void) {
  struct rlimit limit;
  if (prlimit(person, RLIMIT_NOFILE, NULL, &limit) < 0) return errno;
  return was(prlimit(person, RLIMIT_NOFILE, &limit, NULL));
}
static int its_priority(void) { return was(setpriority(PRIO_PROCESS, person, 1)); }
static int its_processors(void) {
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  return was(sched_setaffinity(person, sizeof all, &all));
}
static int its_scheduler(void) {
  struct sched_param none = {0};
  return was(sched_setscheduler(person, SCHED_BATCH, &none));
}
static int its_pace(void) {
  struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t more[3]; } how = {48, 3, 0, 2, 0, {0}};
  return was(syscall(SYS_sched_setattr, person, &how, 0));
}
static int its_disk(void) { return was(syscall(SYS_ioprio_set, 1, person, 2 << 13 | 7)); }
static int compare(void) { return was(syscall(SYS_kcmp, person, getpid(), 1, 0, 0)); }
static int its_locks(void) {
  void *head;
  size_t length;
  return was(syscall(SYS_get_robust_list, person, &head, &length));
}

// What processes share.
static int shared_segment(void) { return was(shmget(IPC_PRIVATE, 4096, 0600)); }
static int messages(void) { return was(msgget(IPC_PRIVATE, 0600)); }
static int semaphores(void) { return was(semget(IPC_PRIVATE, 1, 0600)); }
static int queue(void) {
  char name[64];
  snprintf(name, sizeof name, "/probe-%d", getpid());
  int result = was(mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
  mq_unlink(name);
  return result;
}
static int keys(void) { return was(syscall(SYS_add_key, "user", "probe", "x", 1, -2)); }
static int key_ring(void) { return was(syscall(SYS_keyctl, 0, -3, 1)); }

// The network.
static struct sockaddr_in address(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}
static int connected(int type, int protocol) {
  struct sockaddr_in to = address(tcp_port);
  int fd = socket(AF_INET, type, protocol);
  return fd < 0 ? errno : was(connect(fd, (void *)&to, sizeof to));
}
static int tcp(void) { return connected(SOCK_STREAM, 0); }
static int multipath(void) { return connected(SOCK_STREAM, 262); }
static int fast_open(void) {
  struct sockaddr_in to = address(tcp_port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  return fd < 0 ? errno : was(sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&to, sizeof to));
}
static int udp(void) {
  struct sockaddr_in to = address(udp_port);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || connect(fd, (void *)&to, sizeof to) < 0 || send(fd, "x", 1, 0) < 0) return errno;
  // Whoever listens answers; where nobody does, the next one is told so.
  char byte;
  struct timeval soon = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
  return was(recv(fd, &byte, 1, 0));
}
static int tcp6(void) { return was(socket(AF_INET6, SOCK_STREAM, 0)); }
static int udp6(void) { return was(socket(AF_INET6, SOCK_DGRAM, 0)); }
static int bind_port(void) {
  struct sockaddr_in to = address(0);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  return fd < 0 ? errno : was(bind(fd, (void *)&to, sizeof to));
}
static int listen_unbound(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  return fd < 0 ? errno : was(listen(fd, 1));
}
static int local(int type, const char *path, int is_abstract, int binds) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  size_t length = strlen(path);
  memcpy(to.sun_path + is_abstract, path, length);
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + is_abstract + length + !is_abstract;
  int fd = socket(AF_UNIX, type, 0);
  if (fd < 0) return errno;
  return was(binds ? bind(fd, (void *)&to, size) : connect(fd, (void *)&to, size));
}
static int local_socket(void) { return local(SOCK_STREAM, out("socket"), 0, 0); }
static int local_datagram(void) { return local(SOCK_DGRAM, out("datagrams"), 0, 0); }
static int local_abstract(void) { return local(SOCK_STREAM, abstract_name, 1, 0); }
static int local_listen(void) { return local(SOCK_STREAM, out("bound"), 0, 1); }
static int abstract_listen(void) { return local(SOCK_STREAM, "probe-of-compere", 1, 1); }
static int netlink(void) { return was(socket(AF_NETLINK, SOCK_RAW, 0)); }
static int vsock(void) { return was(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int algorithms(void) { return was(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static int echo_request(void) { return was(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)); }
static int ring(void) {
  char params[256] = {0};
  return was(syscall(SYS_io_uring_setup, 4, params));
}
static int other_interface(void) {
#ifdef __x86_64__
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(AF_INET), "c"(SOCK_STREAM), "d"(0) : "memory", "r8", "r9", "r10", "r11");
  return result < 0 ? (int)-result : 0;
#else
  return ENOSYS;
#endif
}

// The kernel.
static int own_users(void) { return was(unshare(CLONE_NEWUSER)); }
static int own_network(void) { return was(unshare(CLONE_NEWUSER | CLONE_NEWNET)); }
static int own_mount(void) {
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return errno;
  return was(mount("none", "/tmp", "tmpfs", 0, NULL));
}
static int cloned(unsigned long flags) {
  long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  return was(child);
}
static int clone_users(void) { return cloned(CLONE_NEWUSER); }
static int clone_processes(void) { return cloned(CLONE_NEWUSER | CLONE_NEWPID); }
static int clone_by_struct(void) {
  struct clone_args how = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
  long child = syscall(SYS_clone3, &how, sizeof how);
  if (child == 0) _exit(0);
  return was(child);
}
static int faults(void) { return was(syscall(SYS_userfaultfd, 1)); }
static int counters(void) {
  struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
  return was(syscall(SYS_perf_event_open, &what, 0, -1, -1, 0));
}
static int kernel_log(void) { return was(klogctl(3, first, sizeof first)); }
static int run_from_memory(void) {
  int fd = (int)syscall(SYS_memfd_create, "probe", 0), from = open("/bin/true", O_RDONLY);
  char bytes[65536];
  ssize_t count;
  if (fd < 0) return errno;
  while ((count = read(from, bytes, sizeof bytes)) > 0)
    if (write(fd, bytes, count) != count) return EIO;
  pid_t child = fork();
  char *arguments[] = {"true", NULL}, *none[] = {NULL};
  if (child == 0) {
    syscall(SYS_execveat, fd, "", arguments, none, AT_EMPTY_PATH);
    _exit(errno);
  }
  int status;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}
static int become_root(void) {
  snprintf(first, sizeof first, "%s/rooted", tools);
  char *arguments[] = {"rooted", NULL};
  return ran(first, arguments);
}
static int run_own_writing(void) {
  if (copied("/bin/true", in("program"))) return EIO;
  char *arguments[] = {"true", NULL};
  return ran(in("program"), arguments);
}
static int run_by_loader(void) {
#ifdef __x86_64__
  if (copied("/bin/true", in("loaded"))) return EIO;
  char *arguments[] = {"ld", (char *)in("loaded"), NULL};
  return ran("/lib64/ld-linux-x86-64.so.2", arguments);
#else
  return ENOSYS;
#endif
}

// Limits.
static int raised(int resource, rlim_t most) {
  struct rlimit now;
  if (getrlimit(resource, &now) < 0) return errno;
  now.rlim_cur = now.rlim_max < most ? now.rlim_max : most;
  if (now.rlim_max < most) return EPERM;
  return was(setrlimit(resource, &now));
}
static int dump_memory(void) { return raised(RLIMIT_CORE, 1 << 20); }
static int many_files(void) {
  raised(RLIMIT_NOFILE, 4096);
  for (int count = 0; count < 2000; count++)
    if (open("/dev/null", O_RDONLY) < 0) return errno;
  return 0;
}
static int much_memory(void) {
  void *there = mmap(NULL, 3UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return there == MAP_FAILED ? errno : 0;
}
static int large_file(void) {
  signal(SIGXFSZ, SIG_IGN);
  int fd = open(in("large"), O_WRONLY | O_CREAT, 0600);
  int error = was(ftruncate(fd, 2L << 30));
  unlink(in("large"));
  return fd < 0 ? EIO : error;
}
static int many_processes(void) {
  static pid_t children[700];
  int error = 0, count = 0;
  for (; count < 700 && !error; count++) {
    children[count] = fork();
    if (children[count] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      pause();
      _exit(0);
    }
    if (children[count] < 0) error = errno;
  }
  for (int number = 0; number < count; number++)
    if (children[number] > 0) kill(children[number], SIGKILL);
  while (wait(NULL) > 0) {}
  return error;
}

// What must work.
static int write_inside(void) { return opened(in("file"), O_WRONLY | O_CREAT); }
static int pair(void) {
  int both[2];
  return was(socketpair(AF_UNIX, SOCK_STREAM, 0, both));
}

static const struct { const char *name; int (*tries)(void); } PROBES[] = {
#define P(name) {#name, name}
  P(read_secret), P(read_users), P(read_through_proc), P(read_by_openat2), P(read_through_link), P(read_by_child),
  P(list_outside), P(stat_secret), P(statx_secret), P(access_secret), P(hold_secret), P(go_outside), P(read_link),
  P(statfs_outside), P(list_marks), P(watch_outside), P(watch_more), P(handle_of_secret), P(run_outside),
  P(write_new), P(write_there), P(truncate_there), P(unlink_there), P(remove_folder), P(make_folder), P(make_link),
  P(make_pipe), P(rename_out), P(rename_in), P(exchange), P(link_in), P(link_out), P(change_mode), P(change_owner),
  P(change_times), P(change_marks), P(write_temporary), P(write_unnamed), P(write_shared_memory), P(open_terminal),
  P(inherited_file), P(inherited_folder), P(inherited_again),
  P(see_process), P(its_variables), P(its_words), P(its_folder), P(its_memory), P(its_map), P(its_root), P(its_files),
  P(trace), P(read_memory), P(take_descriptor), P(signal_by_descriptor), P(signal_it), P(signal_thread),
  P(signal_queue), P(its_limits), P(its_priority), P(its_processors), P(its_scheduler), P(its_pace), P(its_disk),
  P(compare), P(its_locks),
  P(shared_segment), P(messages), P(semaphores), P(queue), P(keys), P(key_ring),
  P(tcp), P(multipath), P(fast_open), P(udp), P(tcp6), P(udp6), P(bind_port), P(listen_unbound), P(local_socket),
  P(local_datagram), P(local_abstract), P(local_listen), P(abstract_listen), P(netlink), P(vsock), P(algorithms),
  P(echo_request), P(ring), P(other_interface),
  P(own_users), P(own_network), P(own_mount), P(clone_users), P(clone_processes), P(clone_by_struct), P(faults),
  P(counters), P(kernel_log), P(run_from_memory), P(become_root), P(run_own_writing), P(run_by_loader),
  P(dump_memory), P(many_files), P(much_memory), P(large_file), P(many_processes),
  P(write_inside), P(pair),
};

int main(int count, char **given) {
  // A copy that belongs to root, and is to run as root.
  if (count == 1) return geteuid() == 0 ? 0 : EPERM;
  outside = given[1];
  inside = given[2];
  tools = given[3];
  person = atoi(given[4]);
  tcp_port = atoi(given[5]);
  udp_port = atoi(given[6]);
  abstract_name = given[7];
  for (size_t number = 0; number < sizeof PROBES / sizeof *PROBES; number++) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      alarm(10);
      _exit(PROBES[number].tries());
    }
    int status = 0;
    waitpid(child, &status, 0);
    const char *name = PROBES[number].name;
    if (WIFSIGNALED(status)) printf("%s SIGNAL %d\n", name, WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0) printf("%s OPEN\n", name);
    else printf("%s %s\n", name, strerrorname_np(WEXITSTATUS(status)) ? strerrorname_np(WEXITSTATUS(status)) : "ERROR");
  }
  return 0;
}
