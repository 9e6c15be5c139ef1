package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
)

// Kernel is a program in force on this host: attached to a cgroup, at every stage
// at which Linux asks. Any number of goroutines may use it.
type Kernel struct {
	opts   KernelOptions
	cgroup uint64 // id
	cache  *btf.Cache

	mu        sync.Mutex
	now       *loaded
	before    *ebpf.Map // counters of the program before, on which it may still be counting
	beforeIDs []codegen.Rule
	pinned    pinnedProgram
	kept      map[string]*ebpf.Map // maps that outlive programs: of keptMaps
	links     map[string]link.Link
	state     codegen.State
	bound     []uint32 // ifindexes of the policy's interfaces
	// generation of the engine's table, as pinned describes it; another process may
	// have loaded a later one.
	generation uint32
	follow     *follower
	closed     bool
}

// stageOrder is the order in which stages are attached and updated: the one that
// sees every packet first, so that there is no moment at which an earlier stage
// relies on a later one that does not know the policy.
var stageOrder = []string{"egress", "sockops", "connect4", "connect6", "sendmsg4", "sendmsg6", "ingress"}

// keptMaps say of sockets, peers and devices what a later program must know as well.
var keptMaps = []string{codegen.SocketsMap, codegen.PeersMap, codegen.DevicesMap}

// AttachKernel puts a program of target linux in force. Errors wrap ErrKernel and
// say in words what the kernel refuses; a *ebpf.VerifierError among them has the
// verifier's log.
func AttachKernel(program *codegen.Program, opts *KernelOptions) (*Kernel, error) {
	if opts == nil {
		opts = &KernelOptions{}
	}
	k := &Kernel{opts: *opts, cache: btf.NewCache(), links: map[string]link.Link{}, kept: map[string]*ebpf.Map{}}
	var err error
	if k.cgroup, err = cgroupID(opts.Cgroup); err != nil {
		return nil, err
	}
	if opts.Pin != "" {
		if err := makePinDirectory(opts.Pin); err != nil {
			return nil, err
		}
	}
	k.state.Seed = rand.Uint64()
	if k.state.Network, err = NetworkCookie(); err != nil {
		return nil, err
	}
	if opts.NoConnectStage {
		k.state.Flags |= codegen.StateNoConnectStage
	}
	var first bool
	err = k.locked(func() error {
		if err := k.openPins(); err != nil {
			return err
		}
		first = k.kept[codegen.SocketsMap] == nil
		return k.replace(program, opts.Table)
	})
	if err != nil {
		_ = k.Close()
		return nil, err
	}
	if first {
		if err := k.noteAccepted(); err != nil {
			k.problem(fmt.Errorf("connections accepted before may be judged as outbound ones: %w", err))
		}
	}
	k.follow = followInterfaces(k)
	return k, nil
}

// Update replaces the program by another of form code, stage by stage: each
// connection and packet is judged by the old or by the new one. When it fails the
// old program is in force.
func (k *Kernel) Update(program *codegen.Program) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locked(func() error { return k.replace(program, nil) })
}

// locked does something while no other process changes what is pinned.
func (k *Kernel) locked(do func() error) error {
	unlock, err := lockPins(k.opts.Pin)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// replace is Update for any program, and needs the lock; a table is the policy of an engine.
func (k *Kernel) replace(program *codegen.Program, t *codegen.Table) error {
	if k.closed {
		return ErrClosed
	}
	if k.now != nil {
		if err := k.inForce(); err != nil {
			return err // what is pinned is another's
		}
	}
	k.noticeTable()
	next, state, err := k.prepare(program, t)
	if err != nil {
		return err
	}
	if err := k.attach(next); err != nil {
		next.close()
		return err
	}
	for _, name := range keptMaps {
		if m := next.Maps[name]; m != nil && k.kept[name] == nil {
			if k.kept[name], err = m.Clone(); err != nil {
				return err
			}
		}
	}
	k.carryCounters(next, t)
	if k.now != nil {
		k.now.close()
	}
	k.now, k.state = next, state
	k.noteTable()
	return k.pin()
}

// prepare loads a program with all that it needs to judge.
func (k *Kernel) prepare(program *codegen.Program, t *codegen.Table) (*loaded, codegen.State, error) {
	state := k.state
	var err error
	if t != nil {
		if program, err = describedBy(program, t); err != nil {
			return nil, state, err
		}
	}
	next, err := k.load(program)
	if err != nil {
		return nil, state, err
	}
	switch {
	case next.engine() != (t != nil):
		err = errNoEngine
	case t != nil:
		state.Interfaces = nil
		err = k.putTable(next, t, program)
	default:
		if state.Interfaces, err = findInterfaces(program.Interfaces); err == nil {
			k.bound = state.Interfaces
			err = k.keepSets(next)
		}
	}
	if err == nil {
		err = next.setState(&state)
	}
	if m := next.Maps[codegen.DevicesMap]; err == nil && m != nil {
		_, err = k.refreshDevices(m)
	}
	if err != nil {
		next.close()
	}
	return next, state, err
}

// load puts a program into the kernel.
func (k *Kernel) load(program *codegen.Program) (*loaded, error) {
	if program.Target != codegen.Linux {
		return nil, fmt.Errorf("the program is for target %s", program.Target)
	}
	spec, err := program.CollectionSpec()
	if err != nil {
		return nil, err
	}
	if missingPrivileges() == "" && !ReadsDevices() && spec.Maps[codegen.DevicesMap] == nil {
		return nil, fmt.Errorf("%w: the program reads devices itself, as that of form table does, which needs CAP_PERFMON; form code with a map of devices does not", ErrKernel)
	}
	opts := ebpf.CollectionOptions{Cache: k.cache, MapReplacements: map[string]*ebpf.Map{}}
	for name, m := range k.kept {
		if spec.Maps[name] != nil {
			opts.MapReplacements[name] = m
		}
	}
	collection, err := newCollection(spec, &opts)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, fmt.Errorf("what is pinned in %s is not of this version of hopgate: end it by `hopgate unpin --pin %s`: %w", k.opts.Pin, k.opts.Pin, err)
	}
	if err != nil {
		return nil, explainLoad(err)
	}
	l, err := newLoaded(program, collection, &k.opts)
	if err != nil {
		collection.Close()
		return nil, err
	}
	return l, nil
}

func (l *loaded) setState(s *codegen.State) error {
	return l.Maps[codegen.StateMap].Put(uint32(0), s.Bytes())
}

// attach puts a program in the place of the present one, or takes back what it has
// done of that.
func (k *Kernel) attach(next *loaded) error {
	before := k.attached()
	defer func() {
		for p := range maps.Values(before) {
			_ = p.Close()
		}
	}()
	for i, stage := range stageOrder {
		err := k.attachStage(stage, next.Programs[stage])
		if err == nil {
			continue
		}
		for _, done := range stageOrder[:i] {
			program, replaced := before[done]
			if replaced && program == nil {
				err = fmt.Errorf("%w; %s is of the new policy now, as what it was may not be opened (CAP_SYS_ADMIN)", err, done)
			} else if failed := k.attachStage(done, program); failed != nil {
				err = fmt.Errorf("%w; %s is of the new policy now: %w", err, done, failed)
			}
		}
		return err
	}
	return nil
}

// attached gives the programs that are attached, also those that another process has
// pinned. One that may not be opened is nil.
func (k *Kernel) attached() map[string]*ebpf.Program {
	programs := map[string]*ebpf.Program{}
	for stage, l := range k.links {
		programs[stage] = nil
		if info, err := l.Info(); err == nil {
			programs[stage], _ = ebpf.NewProgramFromID(info.Program)
		}
	}
	return programs
}

func (k *Kernel) attachStage(stage string, program *ebpf.Program) error {
	if program == nil {
		return k.detachStage(stage)
	}
	if old := k.links[stage]; old != nil {
		if err := old.Update(program); err != nil {
			return fmt.Errorf("%w: replacing the program at %s: %w", ErrKernel, stage, err)
		}
		return nil
	}
	spec := attachTypes[stage]
	made, err := link.AttachCgroup(link.CgroupOptions{Path: k.opts.Cgroup, Attach: spec, Program: program})
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: another program is attached exclusively at %s of cgroup %s or of one above it (see bpftool cgroup tree)", ErrKernel, stage, k.opts.Cgroup)
	case err != nil:
		return fmt.Errorf("%w: attaching at %s of cgroup %s: %w", ErrKernel, stage, k.opts.Cgroup, err)
	}
	k.links[stage] = made
	return nil
}

// detachStage takes a stage away that the program does not have.
func (k *Kernel) detachStage(stage string) error {
	l := k.links[stage]
	if l == nil {
		return nil
	}
	delete(k.links, stage)
	return errors.Join(l.Unpin(), l.Close())
}

var attachTypes = map[string]ebpf.AttachType{
	"egress":   ebpf.AttachCGroupInetEgress,
	"sockops":  ebpf.AttachCGroupSockOps,
	"connect4": ebpf.AttachCGroupInet4Connect,
	"connect6": ebpf.AttachCGroupInet6Connect,
	"sendmsg4": ebpf.AttachCGroupUDP4Sendmsg,
	"sendmsg6": ebpf.AttachCGroupUDP6Sendmsg,
	"ingress":  ebpf.AttachCGroupInetIngress,
}

// Refresh makes the program judge everything anew that it remembers: after a
// change of a dynamic set.
func (k *Kernel) Refresh() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	return k.locked(func() error {
		k.takeGeneration()
		k.state.Generation++
		return k.now.setState(&k.state)
	})
}

// refreshInterfaces looks the named interfaces up again, and the devices if programs
// do not do so themselves.
func (k *Kernel) refreshInterfaces() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	changed := false
	var err error
	if m := k.now.Maps[codegen.DevicesMap]; m != nil {
		changed, err = k.refreshDevices(m)
	}
	if k.noticeTable() {
		k.bound = nil
	}
	policy, failed := k.now.current()
	if failed != nil {
		return errors.Join(err, failed)
	}
	found, failed := findInterfaces(policy.Interfaces)
	if failed != nil {
		err, found = errors.Join(err, failed), k.bound
	}
	if !changed && slices.Equal(found, k.bound) {
		return err
	}
	unlock, locked := lockPins(k.opts.Pin)
	switch {
	case locked == nil:
		defer unlock()
	case !errors.Is(locked, fs.ErrNotExist): // else it has been unpinned, and nobody else can change it
		return errors.Join(err, locked)
	}
	// The new interfaces first: a decision by the old ones must not be remembered
	// under the new generation.
	k.takeGeneration()
	k.bound = found
	if k.now.engine() {
		err = errors.Join(err, k.now.bindTable(found, k.state.Network))
	} else {
		k.state.Interfaces = found
		err = errors.Join(err, k.now.setState(&k.state))
	}
	k.state.Generation++
	return errors.Join(err, k.now.setState(&k.state))
}

// Map finds a map of the program in force, nil for none: the caller's until Update.
func (k *Kernel) Map(name string) *ebpf.Map {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.Maps[name]
}

// Function finds a function of the program in force, by its name.
func (k *Kernel) Function(name string) *ebpf.Program {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.Programs[name]
}

// Close ends the program's being in force, unless it is pinned: then it only lets
// go of it. A second Close gives ErrClosed.
func (k *Kernel) Close() error {
	k.mu.Lock()
	closed := k.closed
	k.closed = true
	k.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if k.follow != nil {
		k.follow.close() // which may wait for the lock
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.release()
}

func (k *Kernel) release() error {
	var problems []error
	for l := range maps.Values(k.links) {
		problems = append(problems, l.Close())
	}
	if k.now != nil {
		k.now.close()
	}
	for m := range maps.Values(k.kept) {
		problems = append(problems, m.Close())
	}
	if k.before != nil {
		problems = append(problems, k.before.Close())
	}
	return errors.Join(problems...)
}

// takeGeneration goes on from the generation that the state map has, which a change
// of a set by another process may have made.
func (k *Kernel) takeGeneration() {
	if value, err := k.now.Maps[codegen.StateMap].LookupBytes(uint32(0)); err == nil && len(value) >= 4 {
		k.state.Generation = binary.NativeEndian.Uint32(value)
	}
}

func (k *Kernel) problem(err error) {
	if k.opts.Problem != nil && err != nil {
		k.opts.Problem(err)
	}
}

// cgroupID gives the id of a cgroup, which is its directory's inode number.
func cgroupID(path string) (uint64, error) {
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if fsys.Type != unix.CGROUP2_SUPER_MAGIC || stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("%s is no cgroup v2 directory", path)
	}
	return stat.Ino, nil
}

// NetworkCookie gives the cookie of the network namespace this process is in, as
// codegen.Event has that of a decision.
func NetworkCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("%w: it has no cookies of network namespaces (Linux 5.14): %w", ErrKernel, err)
	}
	return cookie, nil
}

// explainLoad says in words why a program could not be loaded. Without privileges
// the kernel's features cannot be told either, so that those come first, and what the
// error guesses at is left out.
func explainLoad(err error) error {
	verifier := new(ebpf.VerifierError)
	switch {
	case missingPrivileges() != "":
		return fmt.Errorf("%w: loading programs needs %s; run as root", ErrKernel, missingPrivileges())
	case errors.Is(err, unix.EPERM), !mayMakeMaps():
		return fmt.Errorf("%w: this process may not load programs: capabilities of a user namespace do not count, and a container or a locked-down kernel may forbid it", ErrKernel)
	case errors.As(err, &verifier):
		return fmt.Errorf("%w: its verifier refuses the program: %w", ErrKernel, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, btf.ErrNotFound):
		return fmt.Errorf("%w: hopgate needs Linux 6.10 with BTF (CONFIG_DEBUG_INFO_BTF) and cgroup BPF: %w", ErrKernel, err)
	}
	return fmt.Errorf("%w: %w", ErrKernel, err)
}

// mayMakeMaps tells what a kernel refuses from what it does not have.
func mayMakeMaps() bool {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err == nil {
		_ = m.Close()
	}
	return !errors.Is(err, unix.EPERM)
}

// makePinDirectory makes a directory and sees to it that it is on a BPF file
// system.
func makePinDirectory(path string) error {
	parent := filepath.Dir(filepath.Clean(path))
	made, err := isOnBPF(parent)
	if err == nil && made {
		if err = os.Mkdir(path, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			made, err = isOnBPF(path) // which may be something else's, or mounted over
		}
	}
	if err == nil && !made {
		err = fmt.Errorf("%s is not a directory in a BPF file system, such as /sys/fs/bpf/hopgate (mount -t bpf bpf /sys/fs/bpf)", path)
	}
	return err
}

// isOnBPF tells directories on a BPF file system.
func isOnBPF(path string) (bool, error) {
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir() && fsys.Type == unix.BPF_FS_MAGIC, err
}
