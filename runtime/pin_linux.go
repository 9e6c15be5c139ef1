package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
)

// programMap is a pinned map of one value: pinnedProgram as JSON.
const programMap = "hopgate_program"

// pinnedProgram is what a BPF file system cannot say of a program otherwise.
type pinnedProgram struct {
	Policy     string            `json:"policy"`
	Rules      []codegen.Rule    `json:"rules"`
	Sets       []codegen.Set     `json:"sets,omitempty"`
	Starts     map[string]string `json:"starts,omitempty"` // what sets start with, by name, as setStart tells it
	Generation int               `json:"generation"`
	Carried    map[string]uint64 `json:"carried"` // decisions by rule id of the programs before
}

// openPins takes over what is pinned.
func (k *Kernel) openPins() error {
	for _, stage := range stageOrder {
		l, err := link.LoadPinnedLink(k.pinPath(stage), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, k.pinPath(stage), err)
		}
		k.links[stage] = l
		info, err := l.Info()
		if err != nil {
			return fmt.Errorf("%w: pinned link %s: %w", ErrKernel, k.pinPath(stage), err)
		}
		switch c := info.Cgroup(); {
		case c == nil || c.CgroupId == 0:
			// The cgroup has gone, and with it what was in force.
			_ = l.Unpin()
			_ = l.Close()
			delete(k.links, stage)
		case c.CgroupId != k.cgroup:
			return fmt.Errorf("what is pinned in %s is attached to another cgroup than %s: remove the directory, or pin elsewhere", k.opts.Pin, k.opts.Cgroup)
		}
	}
	for _, name := range keptMaps {
		m, err := ebpf.LoadPinnedMap(k.pinPath(name), nil)
		if err == nil {
			k.kept[name] = m
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	pinned, counters, err := readPinned(k.opts.Pin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	k.pinned, k.before, k.beforeIDs = *pinned, counters, pinned.Rules
	return nil
}

func (k *Kernel) pinPath(name string) string { return filepath.Join(k.opts.Pin, name) }

// readPinned reads what is pinned of a program, and its counters if it has some.
func readPinned(dir string) (*pinnedProgram, *ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, programMap), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	var text []byte
	if err := m.Lookup(uint32(0), &text); err != nil {
		return nil, nil, err
	}
	p := &pinnedProgram{}
	if err := json.Unmarshal(bytes.TrimRight(text, "\x00"), p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, programMap), err)
	}
	// Not for reading only: those of an engine could not be mapped into memory.
	counters, err := ebpf.LoadPinnedMap(filepath.Join(dir, codegen.CountersMap), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil, nil
	}
	return p, counters, err
}

// pin keeps the program that is in force now.
func (k *Kernel) pin() error {
	for stage, l := range k.links {
		if _, err := os.Stat(k.pinPath(stage)); err == nil {
			continue
		}
		if err := l.Pin(k.pinPath(stage)); err != nil {
			return fmt.Errorf("%w: pinning %s: %w", ErrKernel, stage, err)
		}
	}
	counters := k.now.counters()
	if counters != nil {
		defer counters.Close()
	}
	for name, m := range map[string]*ebpf.Map{
		codegen.CountersMap: counters,
		codegen.StateMap:    k.now.Maps[codegen.StateMap],
		codegen.TableMap:    k.now.Maps[codegen.TableMap],
		codegen.SetsMap:     k.now.Maps[codegen.SetsMap],
		codegen.SocketsMap:  k.kept[codegen.SocketsMap],
		codegen.PeersMap:    k.kept[codegen.PeersMap],
		codegen.DevicesMap:  k.kept[codegen.DevicesMap],
	} {
		if err := pinAt(k.pinPath(name), m); err != nil {
			return err
		}
	}
	return k.pinned.pinIn(k.opts.Pin)
}

// pinIn pins a map with the description.
func (p *pinnedProgram) pinIn(dir string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	program, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: programMap, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(text)+7) &^ 7, MaxEntries: 1,
		Contents: []ebpf.MapKV{{Key: uint32(0), Value: append(text, make([]byte, -len(text)&7)...)}},
	})
	if err != nil {
		return err
	}
	defer program.Close()
	return pinAt(filepath.Join(dir, programMap), program)
}

// pinAt puts a map in the place of the one at a path; nil is none.
func pinAt(path string, m *ebpf.Map) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m == nil {
		return nil // the policy has no such map
	}
	copied, err := m.Clone() // a map knows one place where it is pinned
	if err == nil {
		defer copied.Close()
		err = copied.Pin(path)
	}
	if err != nil {
		return fmt.Errorf("%w: pinning map %s: %w", ErrKernel, path, err)
	}
	return nil
}
