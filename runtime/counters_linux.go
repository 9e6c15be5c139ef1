package runtime

import (
	"github.com/cilium/ebpf/link"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// carryCounters notes the decisions of the program before the present one, which
// has long come to rest, and keeps the present one's counters for the next time.
func (k *Kernel) carryCounters(next *loaded, t *codegen.Table) {
	if k.before != nil {
		k.pinned.carry(k.beforeIDs, decisions(k.before, len(k.beforeIDs)))
		_ = k.before.Close()
		k.before = nil
	}
	if k.now != nil {
		var err error
		k.before, err = k.now.counters()
		k.beforeIDs = k.pinned.Rules
		k.problem(err)
	}
	starts := map[string]string{}
	if t != nil {
		starts = tableStarts(t, next.program.Sets)
	} else {
		for i, s := range next.program.Sets {
			starts[s.Name] = setStart(next.program, i)
		}
	}
	k.pinned.describe(next.program.Policy, next.program.Rules, next.program.Sets, starts)
}

// Status says what is in force and what it has decided.
func (k *Kernel) Status() (*Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.status()
	if err != nil {
		return nil, err
	}
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

// pinnedStages are the names of the links that are pinned for a policy of the hook.
func pinnedStages(compiler.Hook) []string { return stageOrder }

// addStage adds what is known of the link of a stage; nil is none.
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
