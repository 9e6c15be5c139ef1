package runtime

import (
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
)

// carryCounters notes the decisions of the program before the present one, which
// has long come to rest, and keeps the present one's counters for the next time.
func (k *Kernel) carryCounters(next *loaded) {
	carried := map[string]uint64{}
	for id, n := range k.pinned.Carried {
		carried[id] = n
	}
	add := func(rules []codegen.Rule, m *ebpf.Map) {
		for i, n := range decisions(m, len(rules)) {
			carried[rules[i].ID] += n
		}
	}
	if k.before != nil {
		add(k.beforeIDs, k.before)
		_ = k.before.Close()
		k.before = nil
	}
	k.pinned.Carried = carried
	if k.now != nil {
		if m := k.now.Maps[codegen.CountersMap]; m != nil {
			if kept, err := m.Clone(); err == nil {
				k.before, k.beforeIDs = kept, k.now.program.Rules
			}
		}
	}
	k.pinned.Policy, k.pinned.Rules, k.pinned.Sets = next.program.Policy, next.program.Rules, next.program.Sets
	k.pinned.Starts = map[string]string{}
	for i, s := range next.program.Sets {
		k.pinned.Starts[s.Name] = setStart(next.program, i)
	}
	k.pinned.Generation++
}

// Status says what is in force and what it has decided.
func (k *Kernel) Status() (*Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, ErrClosed
	}
	s := newStatus(&k.pinned, k.now.Maps[codegen.CountersMap])
	if k.before != nil {
		before := map[string]uint64{}
		for i, n := range decisions(k.before, len(k.beforeIDs)) {
			before[k.beforeIDs[i].ID] += n
		}
		for i := range s.Rules {
			s.Rules[i].Decisions += before[s.Rules[i].ID]
		}
	}
	for _, stage := range stageOrder {
		s.addStage(stage, k.links[stage])
	}
	return s, nil
}

func newStatus(p *pinnedProgram, counters *ebpf.Map) *Status {
	s := &Status{Policy: p.Policy, Generation: p.Generation}
	counts := decisions(counters, len(p.Rules))
	for i, r := range p.Rules {
		s.Rules = append(s.Rules, RuleStatus{Rule: r, Decisions: p.Carried[r.ID] + counts[i]})
	}
	return s
}

func (s *Status) addStage(stage string, l link.Link) {
	if l == nil && stage == "ingress" {
		return // only programs that leave replies alone have it
	}
	status := StageStatus{Section: stage}
	if l != nil {
		if info, err := l.Info(); err == nil {
			status.Program = uint32(info.Program)
			if c := info.Cgroup(); c != nil {
				status.Cgroup, status.Attached = c.CgroupId, c.CgroupId != 0
			}
		}
	}
	s.Stages = append(s.Stages, status)
}

// PinnedStatus says what is pinned in a directory, whether the process that did so
// still runs or not.
func PinnedStatus(dir string) (*Status, error) {
	pinned, counters, err := readPinned(dir)
	if err != nil {
		return nil, err
	}
	if counters != nil {
		defer counters.Close()
	}
	s := newStatus(pinned, counters)
	for _, stage := range stageOrder {
		l, err := link.LoadPinnedLink(filepath.Join(dir, stage), &ebpf.LoadPinOptions{ReadOnly: false})
		if err != nil {
			l = nil
		}
		s.addStage(stage, l)
		if l != nil {
			_ = l.Close()
		}
	}
	return s, nil
}
