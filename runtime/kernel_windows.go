package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/windows"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// Kernel is a program in force on this host: attached to eBPF for Windows, for all
// processes. Any number of goroutines may use it.
type Kernel struct {
	opts  KernelOptions
	shown atomic.Pointer[codegen.Program] // whose rules events mean

	mu         sync.Mutex
	now        *loaded
	stages     []stage
	carried    map[string]uint64 // decisions by rule id of what was in force before
	generation int
	closed     bool
}

// stage is one place where the program is attached.
type stage struct {
	section string
	program uint32 // id
	link.Link
}

// AttachKernel puts a program of target windows in force. Errors wrap ErrKernel
// and say in words what eBPF for Windows refuses; a *ebpf.VerifierError among them
// has the verifier's log.
func AttachKernel(program *codegen.Program, opts *KernelOptions) (*Kernel, error) {
	if err := windows.NewLazyDLL("ebpfapi.dll").Load(); err != nil {
		return nil, fmt.Errorf("%w: eBPF for Windows is not installed: %w", ErrKernel, err)
	}
	k := &Kernel{opts: *opts, carried: map[string]uint64{}}
	if opts.Event != nil {
		k.opts.Event = func(_ *codegen.Program, event *codegen.Event) { opts.Event(k.shown.Load(), event) }
	}
	if err := k.openPins(program); err != nil {
		return nil, errors.Join(err, k.release())
	}
	if err := k.Update(program); err != nil {
		return nil, errors.Join(err, k.release())
	}
	return k, nil
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
	next, err := k.load(program)
	if err != nil {
		return err
	}
	stages, err := k.attach(next)
	if err != nil {
		next.close()
		return err
	}
	err = closeStages(k.stages)
	if k.now != nil {
		k.carry(k.now.program.Rules, decisions(k.now.Maps[codegen.CountersMap], len(k.now.program.Rules)))
		k.now.close()
	}
	k.now, k.stages = next, stages
	k.shown.Store(next.program)
	k.generation++
	return errors.Join(err, k.pin())
}

// LoadTable gives an engine another policy for the hook it was attached for, by one
// update of a map. When it fails the old policy is in force.
func (k *Kernel) LoadTable(t *codegen.Table) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return ErrClosed
	case k.opts.Table == nil:
		return errNoEngine
	case t.Hook != k.opts.Table.Hook:
		return fmt.Errorf("the engine is attached at hook %s, the policy is for hook %s", k.opts.Table.Hook, t.Hook)
	}
	var before *ebpf.Map
	if err := k.now.Maps[codegen.TableMap].Lookup(uint32(t.Hook), &before); err != nil {
		return fmt.Errorf("%w: the policy in force: %w", ErrKernel, err)
	}
	defer before.Close()
	next, err := describedBy(k.now.program, t)
	if err != nil {
		return err
	}
	if err := LoadTable(k.tables(k.now), t, codegen.TableLoading{}); err != nil {
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	if value, err := before.LookupBytes(uint32(0)); err == nil && len(value) == codegen.TableValueSize {
		rules := k.shown.Load().Rules
		k.carry(rules, codegen.TableCounts(value[codegen.TableCounters:], len(rules)))
	}
	k.opts.Table = t
	k.shown.Store(next)
	k.generation++
	return nil
}

func (k *Kernel) tables(l *loaded) TableMaps {
	return KernelTables(l.Maps[codegen.TableMap], l.Maps[codegen.SetsMap], codegen.Windows)
}

// meaning is of no use where Kernel.shown tells what events mean.
func (*loaded) meaning() func(uint8) *codegen.Program { return nil }

func (k *Kernel) carry(rules []codegen.Rule, counts []uint64) {
	for i, r := range rules {
		k.carried[r.ID] += counts[i]
	}
}

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
	if k.shown.Load() == nil {
		k.shown.Store(program)
	}
	l, err := newLoaded(program, collection, &k.opts)
	if err != nil {
		collection.Close()
		return nil, fmt.Errorf("%w: events: %w", ErrKernel, err)
	}
	if k.opts.Table == nil {
		return l, nil
	}
	if collection.Maps[codegen.TableMap] == nil || collection.Maps[codegen.SetsMap] == nil {
		l.close()
		return nil, errNoEngine
	}
	if err := LoadTable(k.tables(l), k.opts.Table, codegen.TableLoading{}); err != nil {
		l.close()
		return nil, fmt.Errorf("%w: the policy's table: %w", ErrKernel, err)
	}
	return l, nil
}

// attach attaches a program wherever it has an entry point, an engine only where
// its policy judges, or takes back what it has done of that.
func (k *Kernel) attach(l *loaded) ([]stage, error) {
	var stages []stage
	for i := range l.program.Functions {
		f := &l.program.Functions[i]
		a, ok := codegen.AttachTypeOf(f.Section)
		if !ok || k.opts.Table != nil && hookOf(a) != k.opts.Table.Hook {
			continue
		}
		made, err := attachWindows(a, l.Programs[f.Name])
		if err != nil {
			return nil, errors.Join(err, closeStages(stages))
		}
		stages = append(stages, stage{section: f.Section, program: programID(l.Programs[f.Name]), Link: made})
	}
	if len(stages) == 0 {
		return nil, errors.New("the program has no entry point of the authorization hook")
	}
	return stages, nil
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

// closeStages detaches; a link that is pinned is unpinned first.
func closeStages(stages []stage) error {
	var problems []error
	for _, s := range stages {
		problems = append(problems, s.Unpin(), s.Close())
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: detaching: %w", ErrKernel, err)
	}
	return nil
}

// openPins takes over the links that are pinned: of a process that is no more.
func (k *Kernel) openPins(program *codegen.Program) error {
	if k.opts.Pin == "" {
		return nil
	}
	for i := range program.Functions {
		f := &program.Functions[i]
		l, err := link.LoadPinnedLink(k.pinPath(f.Name), nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, k.pinPath(f.Name), err)
		default:
			k.stages = append(k.stages, stage{section: f.Section, Link: l})
		}
	}
	return nil
}

// pin keeps what is attached, and an engine's maps, beyond the end of the process.
func (k *Kernel) pin() error {
	if k.opts.Pin == "" {
		return nil
	}
	for _, s := range k.stages {
		if err := s.Pin(k.pinPath(path.Base(s.section))); err != nil {
			return fmt.Errorf("%w: pinning %s: %w", ErrKernel, s.section, err)
		}
	}
	for _, name := range []string{codegen.TableMap, codegen.SetsMap} {
		m := k.now.Maps[name]
		if m == nil {
			continue
		}
		if old, err := ebpf.LoadPinnedMap(k.pinPath(name), nil); err == nil {
			_ = old.Unpin()
			_ = old.Close()
		}
		if err := m.Pin(k.pinPath(name)); err != nil {
			return fmt.Errorf("%w: pinning map %s: %w", ErrKernel, name, err)
		}
	}
	return nil
}

func (k *Kernel) pinPath(name string) string { return path.Join(k.opts.Pin, name) }

// Status says what is in force and what it has decided.
func (k *Kernel) Status() (*Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, ErrClosed
	}
	shown := k.shown.Load()
	counts := decisions(k.now.Maps[codegen.CountersMap], len(shown.Rules))
	if t := k.opts.Table; t != nil {
		_, counters, err := ReadTable(k.tables(k.now), t.Hook)
		if err != nil {
			return nil, fmt.Errorf("%w: the policy in force: %w", ErrKernel, err)
		}
		counts = counters
	}
	s := &Status{Policy: shown.Policy, Generation: k.generation}
	for i, r := range shown.Rules {
		s.Rules = append(s.Rules, RuleStatus{Rule: r, Decisions: k.carried[r.ID] + counts[i]})
	}
	for _, stage := range k.stages {
		s.Stages = append(s.Stages, StageStatus{Section: stage.section, Program: stage.program, Attached: true})
	}
	return s, nil
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
	var problems []error
	for _, s := range k.stages {
		problems = append(problems, s.Close())
	}
	if k.now != nil {
		k.now.close()
	}
	return errors.Join(problems...)
}

// PinnedStatus does nothing here: eBPF for Windows keeps no rules beside a pinned
// program.
func PinnedStatus(string) (*Status, error) {
	return nil, fmt.Errorf("%w: on Windows a program tells its status only while hopgate runs it", ErrKernel)
}
