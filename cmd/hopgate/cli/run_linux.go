package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// runKernel puts a policy in force in the Linux kernel until a signal ends it, or
// the command has ended.
func (c *console) runKernel(o *kernelOptions, bind bindings) (err error) {
	if o.driver != "" || o.form.value == "table" || o.service {
		return misuse{errors.New("--driver, --form table and --service are for Windows")}
	}
	policy, program, err := c.kernelProgram(o)
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
	events, problems := make(chan decided, 1024), make(chan error, 16)
	hook, err := runtime.AttachKernel(program, &runtime.KernelOptions{
		Cgroup: cgroup, Pin: o.pin, NoConnectStage: o.connectStage.value == "off",
		Event:   func(p *codegen.Program, e *codegen.Event) { events <- decided{p, *e} },
		Problem: func(err error) { problems <- err },
	})
	if err != nil {
		return c.explainRefusal(o, err)
	}
	c.warnOfReroutes(o)
	fmt.Fprintf(c.err, "hopgate: policy %s is in force for cgroup %s\n", program.Policy, cgroup)

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(signals)
	ended, err := o.start(cgroup)
	files := filesOf(o.path, policy)
	poll := time.NewTicker(500 * time.Millisecond)
	defer poll.Stop()
	reload := func() {
		policy, program, err := c.kernelProgram(o)
		if err == nil {
			err = hook.Update(program)
		}
		if err != nil {
			c.report(err)
			fmt.Fprintln(c.err, "hopgate: the policy before stays in force")
			return
		}
		files = filesOf(o.path, policy)
		fmt.Fprintf(c.err, "hopgate: policy %s is in force, loaded again\n", program.Policy)
	}
	for running := err == nil; running; {
		select {
		case e := <-events:
			c.printDecision(o, e)
		case err := <-problems:
			fmt.Fprintf(c.err, "hopgate: %v\n", err)
		case s := <-signals:
			if s == unix.SIGHUP {
				reload()
				continue
			}
			running = false
		case <-poll.C:
			if files.changed() {
				files = files.now()
				reload()
			}
		case err = <-ended:
			running = false
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- hook.Close() }()
	for {
		select {
		case e := <-events:
			c.printDecision(o, e)
		case <-problems:
		case problem := <-closed:
			return errors.Join(err, problem)
		}
	}
}

// kernelProgram compiles the policy for Linux.
func (c *console) kernelProgram(o *kernelOptions) (*compiler.Policy, *codegen.Program, error) {
	policy, err := load(o.path, o.check)
	if err != nil {
		return nil, nil, err
	}
	c.print(policy.Warnings)
	program, _, err := generate(policy, &codegen.Options{Target: codegen.Linux})
	return policy, program, err
}

// makeCgroup gives the cgroup to judge: the one that is named, or a new one for the
// command, which remove removes.
func (o *kernelOptions) makeCgroup() (path string, remove func(), err error) {
	if o.cgroup != "" {
		return o.cgroup, func() {}, nil
	}
	root := "/sys/fs/cgroup"
	var fs unix.Statfs_t
	if unix.Statfs(root+"/unified", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		root += "/unified"
	}
	if len(o.command) == 0 {
		return "", nil, misuse{fmt.Errorf("which processes? --cgroup PATH, or a command after `--`; --cgroup %s is the whole host", root)}
	}
	path = filepath.Join(root, fmt.Sprintf("hopgate-%d", os.Getpid()))
	if err := os.Mkdir(path, 0o755); err != nil {
		return "", nil, err
	}
	return path, func() { _ = os.Remove(path) }, nil
}

// start runs the command inside the cgroup and gives its end; nothing ends where
// there is none.
func (o *kernelOptions) start(cgroup string) (<-chan error, error) {
	ended := make(chan error, 1)
	if len(o.command) == 0 {
		return ended, nil
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	child := exec.Command(o.command[0], o.command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := child.Start(); err != nil {
		return nil, err
	}
	go func() {
		err := child.Wait()
		if err != nil {
			err = fmt.Errorf("%s: %w", o.command[0], err)
		}
		ended <- err
	}()
	return ended, nil
}

// warnOfReroutes names the nftables chains that may change routes behind the
// connect stage's back.
func (c *console) warnOfReroutes(o *kernelOptions) {
	chains, err := runtime.ReroutingChains()
	if err == nil && len(chains) > 0 && o.connectStage.value == "on" {
		fmt.Fprintf(c.err, "hopgate: nftables chain %s may move a connection to another interface after the connect stage has judged it, which can deny one that would be allowed; --connect-stage off judges the packets alone\n",
			strings.Join(chains, ", "))
	}
}

// processName is what a process is called, "" where it is no more.
func processName(pid uint32) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm))
}

// interfaceName is the name of a device, or its index where it is no more.
func interfaceName(luid uint64) string {
	index := int(luid >> 24 & 0xffffff)
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprint(index)
}
