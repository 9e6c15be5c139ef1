package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// runKernel puts a policy in force in the Linux kernel until a signal ends it, or
// the command has ended and with it all that it has started.
func (c *console) runKernel(o *kernelOptions, bind bindings) error {
	switch {
	case o.driver != "" || o.service:
		return misuse{errors.New("--driver and --service are for Windows")}
	case o.form.value == "table" && o.udpReplies.value == "leave":
		return misuse{errors.New("--udp-replies leave takes form code")}
	case o.pin != "" && o.cgroup == "":
		return misuse{errors.New("--pin needs --cgroup: the cgroup that a command gets of its own ends with it")}
	}
	files := watch(o)
	policy, err := c.kernelPolicy(o)
	if err != nil {
		return err
	}
	if err := bind.check(policy); err != nil {
		return err
	}
	cgroup, remove, err := o.makeCgroup()
	if err != nil {
		return err
	}
	defer remove()
	e := &enforcement{reports: c.startReports(o), files: files, table: o.form.value == "table", hangups: make(chan os.Signal, 1), ends: make(chan os.Signal, 4)}
	defer e.close()
	signal.Notify(e.hangups, unix.SIGHUP)
	defer signal.Stop(e.hangups)
	signal.Notify(e.ends, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(e.ends)
	// Somebody who reads the output and goes away must not end the policy.
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, unix.SIGPIPE)
	defer signal.Stop(gone)
	if err := e.enforce(policy, cgroup); err != nil {
		return c.explainRefusal(o, err)
	}
	e.warnOfReroutes()
	if !runtime.ReadsDevices() {
		fmt.Fprintln(e.err, "hopgate: without CAP_PERFMON devices are looked up in a table that follows the host's, and a TCP connection is denied by its packets, which takes seconds")
	}
	fmt.Fprintf(e.err, "hopgate: policy %s is in force for cgroup %s; not for sockets made outside of it, nor for packet sockets\n", policy.Name, cgroup)
	return errors.Join(e.run(cgroup), e.hook.Close())
}

// enforcement is a policy in force in the kernel.
type enforcement struct {
	*reports
	hook    *runtime.Kernel
	table   bool // the policy is a table
	files   watched
	hangups chan os.Signal
	ends    chan os.Signal // beside hangups, which fill a channel while the policy is loaded
}

func (e *enforcement) options(cgroup string) *runtime.KernelOptions {
	return &runtime.KernelOptions{
		Cgroup: cgroup, Pin: e.o.pin, NoConnectStage: e.o.connectStage.value == "off",
		Event: e.decided, Problem: e.problem,
	}
}

// run starts the command, if there is one, and reloads the policy when its files
// change, until the end or until others put the policy out of force.
func (e *enforcement) run(cgroup string) error {
	command, ended, err := e.o.start(cgroup)
	if err != nil {
		return err
	}
	poll := time.NewTicker(500 * time.Millisecond)
	defer poll.Stop()
	for {
		reload := false
		select {
		case err := <-e.problems:
			fmt.Fprintf(e.err, "hopgate: %v\n", err)
		case <-e.hangups:
			reload = true
		case s := <-e.ends:
			if command == nil {
				return nil
			}
			if s == unix.SIGTERM { // a terminal sends SIGINT to the command as well
				_ = command.Signal(s)
			}
		case <-poll.C:
			e.sayLost()
			reload = e.files.changed()
		case err := <-ended:
			return err
		}
		if err := e.hook.InForce(); err != nil {
			return err
		}
		if reload {
			e.reload()
		}
	}
}

// reload puts the policy in force as its files are now; if that fails the one before
// stays.
func (e *enforcement) reload() {
	e.files = watch(e.o)
	policy, err := e.kernelPolicy(e.o)
	if err == nil {
		err = e.explainRefusal(e.o, e.enforce(policy, ""))
	}
	if err != nil {
		e.report(err)
	}
	if err != nil && !errors.Is(err, runtime.ErrNotPinned) {
		fmt.Fprintln(e.err, "hopgate: the policy before stays in force")
		return
	}
	e.warnOfReroutes()
	fmt.Fprintf(e.err, "hopgate: policy %s is in force, loaded again\n", policy.Name)
}

// enforce puts a policy in force, in the place of the one before if there is one. With
// --form auto that is in form code, until the kernel's verifier refuses a policy: that and
// all later ones are tables.
func (e *enforcement) enforce(policy *compiler.Policy, cgroup string) error {
	if e.table {
		return e.enforceTable(policy, cgroup)
	}
	program, _, err := generate(policy, &codegen.Options{
		Target: codegen.Linux, LeaveReplies: e.o.udpReplies.value == "leave", DeviceMap: !runtime.ReadsDevices(),
	})
	switch {
	case err != nil:
	case e.hook != nil:
		err = e.hook.Update(program)
	default:
		e.hook, err = runtime.AttachKernel(program, e.options(cgroup))
	}
	if e.o.form.value == "code" || e.o.udpReplies.value == "leave" || !refusesCode(err) {
		return err
	}
	if as := e.enforceTable(policy, cgroup); as != nil {
		return fmt.Errorf("%w\nnor can it be a table: %w", err, as)
	}
	e.table = true
	fmt.Fprintln(e.err, "hopgate: the kernel's verifier refuses the policy in form code; it is a table from now on")
	return nil
}

func (e *enforcement) enforceTable(policy *compiler.Policy, cgroup string) error {
	table, err := generateTable(policy, &codegen.Options{Target: codegen.Linux})
	if err != nil {
		return err
	}
	if e.hook != nil {
		return e.hook.LoadTable(table)
	}
	engine, err := generateEngine(codegen.Linux)
	if err != nil {
		return err
	}
	opts := e.options(cgroup)
	opts.Table = table
	e.hook, err = runtime.AttachKernel(engine, opts)
	return err
}

// kernelPolicy reads the policy.
func (c *console) kernelPolicy(o *kernelOptions) (*compiler.Policy, error) {
	policy, err := load(o.path, o.check)
	if err == nil {
		c.print(policy.Warnings)
	}
	return policy, err
}

// makeCgroup gives the cgroup to judge: the one that is named, or a new one for the
// command, which remove removes.
func (o *kernelOptions) makeCgroup() (path string, remove func(), err error) {
	if o.cgroup != "" {
		return o.cgroup, func() {}, nil
	}
	roots := []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
	at := slices.IndexFunc(roots, func(root string) bool {
		var fsys unix.Statfs_t
		return unix.Statfs(root, &fsys) == nil && fsys.Type == unix.CGROUP2_SUPER_MAGIC
	})
	if at < 0 {
		return "", nil, fmt.Errorf("no cgroup v2 file system is mounted at %s: name a cgroup with --cgroup PATH", strings.Join(roots, " or "))
	}
	root := roots[at]
	if len(o.command) == 0 {
		return "", nil, misuse{fmt.Errorf("which processes? --cgroup PATH, or a command after `--`; --cgroup %s is the whole host", root)}
	}
	// Process ids come again, as in containers, and a killed hopgate leaves its cgroup.
	path, err = os.MkdirTemp(root, "hopgate-")
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err != nil {
		return "", nil, err
	}
	return path, func() { removeCgroup(path) }, nil
}

// removeCgroup removes a cgroup and those that the command has made below, where no
// process is left in them.
func removeCgroup(path string) {
	var all []string
	_ = filepath.WalkDir(path, func(at string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			all = append(all, at)
		}
		return err
	})
	for _, at := range slices.Backward(all) {
		_ = os.Remove(at)
	}
}

// start runs the command inside the cgroup and gives its end, and if the cgroup is
// the command's own, that of all it has started; nothing ends where there is no
// command. Should hopgate be killed, so is the command.
func (o *kernelOptions) start(cgroup string) (*os.Process, <-chan error, error) {
	ended := make(chan error, 1)
	if len(o.command) == 0 {
		return nil, ended, nil
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	child := exec.Command(o.command[0], o.command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: unix.SIGKILL}
	if err := child.Start(); err != nil {
		return nil, nil, err
	}
	go func() {
		err := child.Wait()
		if err != nil {
			err = fmt.Errorf("%s: %w", o.command[0], err)
		}
		if o.cgroup == "" {
			err = errors.Join(err, waitUntilEmpty(cgroup))
		}
		ended <- err
	}()
	return child.Process, ended, nil
}

// waitUntilEmpty waits for the end of all processes in a cgroup and below.
func waitUntilEmpty(cgroup string) error {
	events, err := os.Open(filepath.Join(cgroup, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	text := make([]byte, 256)
	for {
		n, err := events.ReadAt(text, 0)
		if err != nil && err != io.EOF {
			return err
		}
		if strings.Contains(string(text[:n]), "populated 0") {
			return nil
		}
		// The kernel tells of a change of the file by POLLPRI.
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// warnOfReroutes names the nftables chains that may change routes behind the
// connect stage's back.
func (e *enforcement) warnOfReroutes() {
	if e.o.connectStage.value == "off" {
		return
	}
	chains, err := runtime.ReroutingChains()
	if err != nil {
		fmt.Fprintf(e.err, "hopgate: whether nftables moves connections to other interfaces cannot be told: %v\n", err)
	}
	for _, chain := range chains {
		fmt.Fprintf(e.err, "hopgate: nftables chain %s may move a connection to another interface after the connect stage has judged it, which can deny one that would be allowed; --connect-stage off judges the packets alone\n", chain)
	}
}

// processName is what a process is called, "" where it is no more.
func processName(pid uint32) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm))
}

// interfaceName is the name of the device of a decision, or its index where it is no more
// or has its name elsewhere.
func interfaceName(e *codegen.Event) string {
	index := int(e.Request.NextHop >> 24 & 0xffffff)
	if here, err := runtime.NetworkCookie(); err != nil || here != e.Network {
		return fmt.Sprintf("%d of another network namespace", index)
	}
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprint(index)
}
