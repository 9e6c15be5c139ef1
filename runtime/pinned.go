//go:build linux || windows

package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// programMap is a pinned array: pinnedProgram as JSON, in pages, as eBPF for Windows
// moves no values of 64 KB.
const (
	programMap  = "hopgate_program"
	programPage = 1 << 12
)

// pinnedProgram is what pins cannot say of a program otherwise.
type pinnedProgram struct {
	Policy     string            `json:"policy"`
	Hook       compiler.Hook     `json:"hook,omitempty"`
	Engine     string            `json:"engine,omitempty"` // on Windows, engineIdentity
	Rules      []codegen.Rule    `json:"rules"`
	Sets       []codegen.Set     `json:"sets,omitempty"`
	Starts     map[string]string `json:"starts,omitempty"` // what sets start with, by name, as setStart tells it
	Generation int               `json:"generation"`
	Program    ebpf.ProgramID    `json:"program,omitempty"` // on Linux, what this describes: the program at egress
	Table      uint32            `json:"table,omitempty"`   // and the generation of its table
	Carried    map[string]uint64 `json:"carried"`           // decisions by rule id of the programs before
}

// readPinned reads what is pinned of a program, and its counters if it has some.
func readPinned(dir string) (*pinnedProgram, *ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(path.Join(dir, programMap), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path.Join(dir, programMap), err)
	}
	defer m.Close()
	var text []byte
	for n := range m.MaxEntries() {
		page, err := m.LookupBytes(n)
		if err != nil {
			return nil, nil, err
		}
		text = append(text, page...)
	}
	p := &pinnedProgram{}
	if err := json.Unmarshal(bytes.TrimRight(text, "\x00"), p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path.Join(dir, programMap), err)
	}
	if table, err := pinnedGeneration(dir, p.Hook); err != nil {
		return nil, nil, err
	} else if p.Table != 0 && p.Table != table {
		p.Sets = nil // who loaded that table was killed before it wrote down which sets it has
	}
	// Not for reading only: those of an engine could not be mapped into memory.
	counters, err := ebpf.LoadPinnedMap(path.Join(dir, codegen.CountersMap), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil, nil
	}
	return p, counters, err
}

// carry adds decisions to those that are kept by rule id.
func (p *pinnedProgram) carry(rules []codegen.Rule, counts []uint64) {
	carried := maps.Clone(p.Carried)
	if carried == nil {
		carried = map[string]uint64{}
	}
	for i, n := range counts {
		if n > 0 { // rules come and go for as long as the policy is pinned
			carried[rules[i].ID] += n
		}
	}
	p.Carried = carried
}

// describe notes another policy, the next generation.
func (p *pinnedProgram) describe(policy string, rules []codegen.Rule, sets []codegen.Set, starts map[string]string) {
	p.Policy, p.Rules, p.Sets, p.Starts, p.Table = policy, rules, sets, starts, 0
	p.Generation++
}

func newStatus(p *pinnedProgram, counters *ebpf.Map) *Status {
	s := &Status{Policy: p.Policy, Generation: p.Generation}
	counts := decisions(counters, len(p.Rules))
	for i, r := range p.Rules {
		s.Rules = append(s.Rules, RuleStatus{Rule: r, Decisions: p.Carried[r.ID] + counts[i]})
	}
	return s
}

// status is Status without the stages.
func (k *Kernel) status() (*Status, error) {
	if k.closed {
		return nil, ErrClosed
	}
	k.noticeTable()
	counters, err := k.now.counters()
	if err != nil {
		return nil, fmt.Errorf("%w: counters: %w", ErrKernel, err)
	}
	if counters != nil {
		defer counters.Close()
	}
	return newStatus(&k.pinned, counters), nil
}

// PinnedStatus says what is pinned under a path, whether the process that did so still
// runs or not. The error is fs.ErrNotExist if nothing is.
func PinnedStatus(dir string) (*Status, error) {
	unlock, err := lockPins(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	pinned, counters, err := readPinned(dir)
	if err != nil {
		return nil, err
	}
	if counters != nil {
		defer counters.Close()
	}
	if err := pinned.isInForce(dir); err != nil {
		return nil, err
	}
	s := newStatus(pinned, counters)
	for _, stage := range pinnedStages(pinned.Hook) {
		l, err := link.LoadPinnedLink(path.Join(dir, stage), nil)
		if err != nil {
			s.addStage(stage, nil)
			continue
		}
		s.addStage(stage, l)
		_ = l.Close()
	}
	return s, nil
}

// pinIn pins a map with the description.
func (p *pinnedProgram) pinIn(dir string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	spec := &ebpf.MapSpec{Name: programMap, Type: arrayType, KeySize: 4, ValueSize: programPage}
	for page := range slices.Chunk(append(text, make([]byte, -len(text)&(programPage-1))...), programPage) {
		spec.Contents = append(spec.Contents, ebpf.MapKV{Key: spec.MaxEntries, Value: page})
		spec.MaxEntries++
	}
	program, err := ebpf.NewMap(spec)
	if err != nil {
		return fmt.Errorf("%w: pinning what the program is: %w", ErrKernel, err)
	}
	defer program.Close()
	return pinAt(path.Join(dir, programMap), program)
}

// pinAt puts a map in the place of the one at a path; nil is none.
func pinAt(path string, m *ebpf.Map) error {
	if m == nil {
		if err := removePin(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: unpinning map %s: %w", ErrKernel, path, err)
		}
		return nil // the policy has no such map
	}
	copied, err := m.Clone() // a map knows one place where it is pinned
	if err == nil {
		defer copied.Close()
		err = replacePin(copied, path)
	}
	if err != nil {
		return fmt.Errorf("%w: pinning map %s: %w", ErrKernel, path, err)
	}
	return nil
}
