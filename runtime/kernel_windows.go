package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// Kernel is a program in force on this host: attached to eBPF for Windows, for all
// processes. Any number of goroutines may use it.
type Kernel struct {
	opts KernelOptions

	mu     sync.Mutex
	now    *loaded
	stages []stage
	pinned pinnedProgram
	before *ebpf.Map // counters of the program that was pinned; nil once they are carried over
	// generation of the engine's table, as pinned describes it; another process may
	// have loaded a later one.
	generation uint32
	closed     bool
}

// stage is one place where the program is attached.
type stage struct {
	attach  codegen.AttachType
	program uint32 // id
	link.Link
}

func isStage(stages []stage, a codegen.AttachType) bool {
	return slices.ContainsFunc(stages, func(s stage) bool { return s.attach == a })
}

// AttachKernel puts a program of target windows in force. Errors wrap ErrKernel
// and say in words what eBPF for Windows refuses; a *ebpf.VerifierError among them
// has the verifier's log. After an error nothing of the program is in force or pinned;
// what was pinned before is, unless the error came after it had been replaced.
func AttachKernel(program *codegen.Program, opts *KernelOptions) (*Kernel, error) {
	if err := windows.NewLazyDLL("ebpfapi.dll").Load(); err != nil {
		return nil, fmt.Errorf("%w: eBPF for Windows is not installed: %w", ErrKernel, err)
	}
	if opts == nil {
		opts = &KernelOptions{}
	}
	k := &Kernel{opts: *opts}
	unlock, err := lockPins(opts.Pin)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := k.openPins(); err != nil {
		return nil, errors.Join(err, k.release())
	}
	fresh := len(k.stages) == 0
	adopted, err := k.adopt(program)
	switch {
	case adopted:
		err = k.LoadTable(opts.Table)
	case err == nil:
		err = k.Update(program)
	}
	if err == nil {
		return k, nil
	}
	err = errors.Join(err, k.release())
	if fresh && opts.Pin != "" {
		if left := Unpin(opts.Pin); !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
	}
	return nil, err
}

// Update replaces the program by another. The new one is attached before the old
// one is detached: between the two both judge, and what either denies is denied.
// When it fails before that the old program is in force alone.
func (k *Kernel) Update(program *codegen.Program) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	if k.now != nil && k.opts.Driver != "" {
		return fmt.Errorf("the program of driver %s is what it was signed as; only an engine's table can be replaced", k.opts.Driver)
	}
	if err := k.givesWay(program); err != nil {
		return err
	}
	unlock, err := lockPins(k.opts.Pin)
	if err != nil {
		return err
	}
	defer unlock()
	k.noticeTable()
	next, err := k.load(program)
	if err != nil {
		return err
	}
	stages, err := k.attach(next)
	if err == nil {
		err = k.replaceStages(stages)
	}
	if err != nil {
		next.close()
		return err
	}
	err = k.carryCounters()
	if k.now != nil {
		k.now.close()
	}
	k.now = next
	k.noteTable()
	k.describe(next.program)
	k.pinned.Engine = ""
	if k.opts.Table != nil && k.opts.Pin != "" {
		var failed error
		k.pinned.Engine, failed = engineIdentity(program, k.stages, next.Maps[codegen.TableMap])
		err = errors.Join(err, failed)
	}
	return errors.Join(err, k.pin())
}

// carryCounters notes the decisions of the program that was in force until now.
func (k *Kernel) carryCounters() error {
	counters := k.before
	k.before = nil
	if k.now != nil {
		var err error
		if counters, err = k.now.counters(); err != nil {
			return fmt.Errorf("%w: counters: %w", ErrKernel, err)
		}
	}
	k.pinned.carry(k.pinned.Rules, decisions(counters, len(k.pinned.Rules)))
	if counters == nil {
		return nil
	}
	return counters.Close()
}

// describe notes what is in force from now on.
func (k *Kernel) describe(p *codegen.Program) {
	starts := map[string]string{}
	if t := k.opts.Table; t != nil {
		starts = tableStarts(t, p.Sets)
	} else {
		for i, s := range p.Sets {
			starts[s.Name] = setStart(p, i)
		}
	}
	k.pinned.Hook = hookOf(k.stages[0].attach)
	k.pinned.describe(p.Policy, p.Rules, p.Sets, starts)
}

// becomeEngine refuses what the program in force is not.
func (*Kernel) becomeEngine(*codegen.Table) error { return errNoEngine }

// putTable loads a table into an engine, with the sets that the policies before have had;
// the program is the engine with what the table describes.
func (k *Kernel) putTable(l *loaded, t *codegen.Table, program *codegen.Program) error {
	before, base, err := k.setsInForce()
	if err != nil {
		return err
	}
	if before != nil {
		defer before.Close()
	}
	var with codegen.TableLoading
	if with.Sets, err = keptTables(t, program.Sets, &k.pinned, before, base); err != nil {
		return err
	}
	if err := LoadTable(l.tables(), t, with); err != nil {
		return fmt.Errorf("%w: the policy's table: %w", ErrKernel, err)
	}
	k.problem(l.know(program))
	return nil
}

// loadingHere tells a table nothing: on Windows its interfaces are bound when it is made.
func loadingHere(*codegen.Table) (with codegen.TableLoading, err error) { return with, nil }

// load puts a program, and of an engine its policy, into the kernel.
func (k *Kernel) load(program *codegen.Program) (*loaded, error) {
	if program.Target != codegen.Windows {
		return nil, fmt.Errorf("the program is for target %s", program.Target)
	}
	if t := k.opts.Table; t != nil {
		var err error
		if program, err = describedBy(program, t); err != nil {
			return nil, err
		}
	}
	spec, err := program.CollectionSpec()
	if err != nil {
		return nil, err
	}
	collection, err := loadWindows(spec, k.opts.Driver)
	if err != nil {
		return nil, err
	}
	l, err := newLoaded(program, collection, &k.opts)
	if err != nil {
		collection.Close()
		return nil, fmt.Errorf("%w: events: %w", ErrKernel, err)
	}
	switch {
	case l.engine() != (k.opts.Table != nil):
		err = errNoEngine
	case l.engine():
		err = k.putTable(l, k.opts.Table, program)
	default:
		err = k.keepSets(l)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// attach attaches a program wherever it has an entry point, an engine only where
// its policy judges, or takes back what it has done of that.
func (k *Kernel) attach(l *loaded) ([]stage, error) {
	var stages []stage
	for i := range l.program.Functions {
		f := &l.program.Functions[i]
		a, ok := k.attachType(f)
		if !ok {
			continue
		}
		made, err := attachWindows(a, l.Programs[f.Name])
		if err != nil {
			return nil, errors.Join(err, closeStages(stages))
		}
		stages = append(stages, stage{attach: a, program: programID(l.Programs[f.Name]), Link: made})
	}
	if len(stages) == 0 {
		return nil, errors.New("the program has no entry point of the authorization hook")
	}
	return stages, nil
}

// attachType is where a function is attached; false for one that is not.
func (k *Kernel) attachType(f *codegen.Function) (codegen.AttachType, bool) {
	a, ok := codegen.AttachTypeOf(f.Section)
	return a, ok && (k.opts.Table == nil || hookOf(a) == k.opts.Table.Hook)
}

// givesWay reports whether a program can come in the place of what is attached. Of
// hook accept it cannot: eBPF for Windows takes one program there
// (ATTACH_CAPABILITY_SINGLE_ATTACH_PER_HOOK in net_ebpf_ext_sock_addr.c), so the old one
// would have to go first, and for a moment nothing would judge.
func (k *Kernel) givesWay(program *codegen.Program) error {
	for i := range program.Functions {
		f := &program.Functions[i]
		a, ok := k.attachType(f)
		if !ok || hookOf(a) != compiler.Accept || !isStage(k.stages, a) {
			continue
		}
		if k.now == nil {
			return fmt.Errorf("%w: %s takes one program, and one is pinned in %s: take it off with `hopgate unpin`", ErrKernel, f.Section, k.opts.Pin)
		}
		return fmt.Errorf("%w: %s takes one program, so this one cannot be replaced while it judges: run it with --form table, or stop and start", ErrKernel, f.Section)
	}
	return nil
}

// hookOf gives the hook that attach types are of.
func hookOf(a codegen.AttachType) compiler.Hook {
	if a == codegen.AttachRecvAccept4 || a == codegen.AttachRecvAccept6 {
		return compiler.Accept
	}
	return compiler.Connect
}

func programID(p *ebpf.Program) uint32 {
	info, err := p.Info()
	if err != nil {
		return 0
	}
	id, _ := info.ID()
	return uint32(id)
}

// replaceStages puts stages, and their pins, in the place of those in force, and
// detaches those; or takes back what it has done of that.
func (k *Kernel) replaceStages(next []stage) error {
	if err := k.pinStages(next); err != nil {
		return errors.Join(err, k.pinStages(k.stages), k.unpinOthers(next, k.stages), closeStages(next))
	}
	err := errors.Join(k.unpinOthers(k.stages, next), closeStages(k.stages))
	k.stages = next
	return err
}

// pinStages pins stages in the place of those that are pinned.
func (k *Kernel) pinStages(stages []stage) error {
	if k.opts.Pin == "" {
		return nil
	}
	for _, s := range stages {
		if err := replacePin(s, k.pinPath(pinName(s.attach))); err != nil {
			return fmt.Errorf("%w: pinning %s: %w", ErrKernel, s.attach.Section(), err)
		}
	}
	return nil
}

// unpinOthers takes pins away that stages may have, where others have none in their place.
func (k *Kernel) unpinOthers(stages, others []stage) error {
	if k.opts.Pin == "" {
		return nil
	}
	var problems []error
	for _, s := range stages {
		if isStage(others, s.attach) {
			continue
		}
		at := k.pinPath(pinName(s.attach))
		err := settlePin(at)
		if err == nil {
			err = removePin(at)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("%w: unpinning %s: %w", ErrKernel, s.attach.Section(), err))
		}
	}
	return errors.Join(problems...)
}

// closeStages detaches what is not pinned.
func closeStages(stages []stage) error {
	var problems []error
	for _, s := range stages {
		problems = append(problems, s.Close())
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: detaching: %w", ErrKernel, err)
	}
	return nil
}

// openPins takes over what is pinned: of a process that is no more.
func (k *Kernel) openPins() error {
	if k.opts.Pin == "" {
		return nil
	}
	for _, a := range authorizationTypes {
		at := k.pinPath(pinName(a))
		l, err := link.LoadPinnedLink(at, nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, at, err)
		default:
			made := stage{attach: a, Link: l}
			if info, err := l.Info(); err == nil {
				made.program = uint32(info.Program)
			}
			k.stages = append(k.stages, made)
		}
	}
	pinned, counters, err := readPinned(k.opts.Pin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: pinned maps: %w", ErrKernel, err)
	}
	k.pinned, k.before = *pinned, counters
	return nil
}

// pin keeps the maps of what is attached beyond the end of the process.
func (k *Kernel) pin() error {
	if k.opts.Pin == "" {
		return nil
	}
	counters, err := k.now.counters()
	if err != nil {
		return fmt.Errorf("%w: counters: %w", ErrKernel, err)
	}
	if counters != nil {
		defer counters.Close()
	}
	for _, kept := range []struct {
		name string
		m    *ebpf.Map
	}{
		{codegen.CountersMap, counters}, {codegen.TableMap, k.now.Maps[codegen.TableMap]}, {codegen.SetsMap, k.now.Maps[codegen.SetsMap]},
		{codegen.EventsMap, k.now.Maps[codegen.EventsMap]},
	} {
		if err := pinAt(k.pinPath(kept.name), kept.m); err != nil {
			return err
		}
	}
	return k.pinned.pinIn(k.opts.Pin)
}

func (k *Kernel) pinPath(name string) string { return path.Join(k.opts.Pin, name) }

// Status says what is in force and what it has decided.
func (k *Kernel) Status() (*Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.status()
	if err != nil {
		return nil, err
	}
	for _, stage := range k.stages {
		s.Stages = append(s.Stages, StageStatus{Section: stage.attach.Section(), Program: stage.program, Attached: true})
	}
	return s, nil
}

// pinnedStages are the names of the links that are pinned for a policy of the hook.
func pinnedStages(hook compiler.Hook) []string {
	var names []string
	for _, a := range authorizationTypes {
		if hookOf(a) == hook {
			names = append(names, pinName(a))
		}
	}
	return names
}

// addStage adds what is known of a link that was pinned under a name; nil is none.
func (s *Status) addStage(name string, l link.Link) {
	status := StageStatus{Section: "cgroup/" + name, Attached: l != nil}
	if l != nil {
		if info, err := l.Info(); err == nil {
			status.Program = uint32(info.Program)
		}
	}
	s.Stages = append(s.Stages, status)
}

func (k *Kernel) problem(err error) {
	if k.opts.Problem != nil && err != nil {
		k.opts.Problem(err)
	}
}

// Map finds a map of the program in force, nil for none: the caller's until Update.
func (k *Kernel) Map(name string) *ebpf.Map {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.Maps[name]
}

// Close ends the program's being in force, unless it is pinned: then it only lets
// go of it. A second Close gives ErrClosed.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	return k.release()
}

func (k *Kernel) release() error {
	k.closed = true
	err := closeStages(k.stages)
	if k.now != nil {
		k.now.close()
	}
	if k.before != nil {
		err = errors.Join(err, k.before.Close())
	}
	return err
}
