package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// runKernel puts a policy in force in eBPF for Windows until it is interrupted, or,
// as a service, stopped.
func (c *console) runKernel(o *kernelOptions, bind bindings) error {
	switch {
	case o.cgroup != "" || len(o.command) > 0:
		return misuse{errors.New("--cgroup and a command are for Linux: on Windows the policy judges all processes")}
	case o.connectStage.value == "off" || o.udpReplies.value == "leave":
		return misuse{errors.New("--connect-stage and --udp-replies are for Linux")}
	}
	e := &enforcement{console: c, o: o, bind: bind, stop: make(chan struct{}), started: make(chan struct{})}
	if o.service {
		return e.runService()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		close(e.stop)
	}()
	return e.run()
}

// enforcement is a policy in force on this host.
type enforcement struct {
	*console
	o       *kernelOptions
	bind    bindings
	stop    chan struct{} // closed to end it
	started chan struct{} // closed when the policy is in force

	hook  *runtime.Kernel
	table bool              // it is a table for an engine, as are all later policies
	found map[string]uint64 // LUIDs of the interfaces that are looked up
	files watched
}

// run puts the policy in force, and again after each change of its files or of the
// interfaces it names, until stop.
func (e *enforcement) run() error {
	policy, err := e.load()
	if err != nil {
		return err
	}
	if err := e.bind.check(policy); err != nil {
		return err
	}
	reports := e.startReports(e.o)
	defer reports.close()
	opts := &runtime.KernelOptions{Driver: e.o.driver, Pin: e.o.pin, Event: reports.decided, Problem: reports.problem}
	if err := e.enforce(policy, opts); err != nil {
		return e.explainRefusal(e.o, err)
	}
	fmt.Fprintf(e.err, "hopgate: policy %s is in force on this host\n", policy.Name)
	changed := make(chan struct{}, 1)
	changes, err := runtime.FollowInterfaces(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return errors.Join(err, e.hook.Close())
	}
	close(e.started)
	poll := time.NewTicker(500 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case err := <-reports.problems:
			fmt.Fprintf(e.err, "hopgate: %v\n", err)
		case <-changed:
			if e.interfacesChanged(policy) {
				policy = e.reload(policy)
			}
		case <-poll.C:
			reports.sayLost()
			if e.files.changed() {
				policy = e.reload(policy)
			}
		case <-e.stop:
			return errors.Join(changes.Close(), e.hook.Close())
		}
	}
}

// load reads the policy and binds its interfaces to the host's, but for those that
// are bound by hand.
func (e *enforcement) load() (*compiler.Policy, error) {
	e.files = watch(e.o)
	policy, err := load(e.o.path, e.o.check)
	if err != nil {
		return nil, err
	}
	if e.found, err = runtime.FindInterfaces(unbound(policy, e.bind)); err != nil {
		return nil, err
	}
	if len(e.found) > 0 {
		all := maps.Clone(e.found)
		maps.Copy(all, e.bind)
		if policy, err = load(e.o.path, &compiler.Options{Bind: all}); err != nil {
			return nil, err
		}
	}
	c := e.console
	c.print(policy.Warnings)
	for _, i := range unbound(policy, e.bind) {
		if e.found[i.Name] == 0 {
			fmt.Fprintf(e.err, "hopgate: interface `%s`: there is no interface of %s `%s` now\n", i.Name, i.Kind, i.Value)
		}
	}
	return policy, nil
}

// unbound are the interfaces that the host is asked for.
func unbound(policy *compiler.Policy, bind bindings) []*compiler.NamedInterface {
	var unbound []*compiler.NamedInterface
	for _, i := range policy.Interfaces {
		if _, ok := bind[i.Name]; !ok {
			unbound = append(unbound, i)
		}
	}
	return unbound
}

// bindToHost binds the interfaces of a policy, but for those that are bound by hand, to
// the host's.
func bindToHost(path string, bind bindings) error {
	policy, err := load(path, &compiler.Options{Bind: bind})
	if err != nil {
		return err
	}
	found, err := runtime.FindInterfaces(unbound(policy, bind))
	maps.Copy(bind, found)
	return err
}

func (e *enforcement) interfacesChanged(policy *compiler.Policy) bool {
	found, err := runtime.FindInterfaces(unbound(policy, e.bind))
	if err != nil {
		fmt.Fprintf(e.err, "hopgate: %v\n", err)
	}
	return err == nil && !maps.Equal(found, e.found)
}

// enforce puts the first policy in force. With --form auto and no driver that is in form
// code, unless it does not load so: then that policy and all later ones are tables.
func (e *enforcement) enforce(policy *compiler.Policy, opts *runtime.KernelOptions) error {
	e.table = e.o.form.value == "table" || e.o.form.value == "auto" && e.o.driver != ""
	err := e.attach(policy, opts)
	if e.table || e.o.form.value == "code" || !refusesCode(err) {
		return err
	}
	e.table = true
	if as := e.attach(policy, opts); as != nil {
		return fmt.Errorf("%w\nnor can it be a table: %w", err, as)
	}
	fmt.Fprintln(e.err, "hopgate: the policy does not load in form code; it is a table")
	return nil
}

func (e *enforcement) attach(policy *compiler.Policy, opts *runtime.KernelOptions) error {
	var program *codegen.Program
	var err error
	if e.table {
		if opts.Table, err = generateTable(policy, &codegen.Options{}); err == nil {
			program, err = generateEngine(codegen.Windows)
		}
	} else {
		program, _, err = generate(policy, &codegen.Options{})
	}
	if err != nil {
		return err
	}
	e.hook, err = runtime.AttachKernel(program, opts)
	return err
}

// reload puts the policy in force as its files and the host's interfaces are now; if
// that fails the one before stays. It gives the one in force.
func (e *enforcement) reload(before *compiler.Policy) *compiler.Policy {
	found := e.found
	policy, err := e.load()
	if err == nil {
		err = e.update(policy)
	}
	if err != nil {
		e.found = found
		e.report(err)
		fmt.Fprintln(e.err, "hopgate: the policy before stays in force")
		return before
	}
	fmt.Fprintf(e.err, "hopgate: policy %s is in force, loaded again\n", policy.Name)
	return policy
}

func (e *enforcement) update(policy *compiler.Policy) error {
	if e.table {
		table, err := generateTable(policy, &codegen.Options{})
		if err != nil {
			return err
		}
		return e.hook.LoadTable(table)
	}
	program, _, err := generate(policy, &codegen.Options{})
	if err != nil {
		return err
	}
	return e.hook.Update(program)
}

// processName is the file name of a process's program, "" where that cannot be
// had.
func processName(pid uint32) string {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return ""
	}
	defer windows.CloseHandle(process)
	var path [windows.MAX_LONG_PATH]uint16
	size := uint32(len(path))
	if windows.QueryFullProcessImageName(process, 0, &path[0], &size) != nil {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(windows.UTF16ToString(path[:size])), ".exe")
}

// interfaceName is the alias of an interface, or its LUID where it is no more.
func interfaceName(e *codegen.Event) string {
	luid := e.Request.NextHop
	row := windows.MibIfRow2{InterfaceLuid: luid}
	if windows.GetIfEntry2Ex(windows.MibIfEntryNormalWithoutStatistics, &row) != nil {
		return fmt.Sprintf("%#016x", luid)
	}
	return windows.UTF16ToString(row.Alias[:])
}
