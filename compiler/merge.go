package compiler

import (
	"cmp"
	"slices"
)

// clause is a rule with what is left of its condition.
type clause struct {
	cond ref // boolean diagram in the merger's conds
	then ref // leaf or node of out, reached when cond is the first that holds
}

// merger turns an ordered list of conditions into one diagram that leads to the
// first that holds. It eliminates one variable after another, top down; states
// that have the same list left are one node.
type merger struct {
	conds  *store
	order  []int32 // the variable of each level of conds, a level of out
	out    *store
	lists  []clause // arena of the lists seen
	memo   map[uint64][]mergeState
	limit  int // kids that out may have
	budget int // intervals and list entries that may still be looked at
}

type mergeState struct {
	off, n int32
	result ref
}

// merge builds the diagram of the list, of which the last condition is true. It
// may change the list, and gives false when the budget is used up.
func (m *merger) merge(list []clause) (ref, bool) {
	for len(list) > 1 && list[len(list)-2].then == list[len(list)-1].then {
		list[len(list)-2].cond = isTrue
		list = list[:len(list)-1]
	}
	if list[0].cond == isTrue {
		return list[0].then, true
	}
	h := uint64(len(list))
	for _, c := range list {
		h = mix(h ^ uint64(uint32(c.cond))<<32 ^ uint64(uint32(c.then)))
	}
	for _, s := range m.memo[h] {
		if slices.Equal(m.lists[s.off:s.off+s.n], list) {
			return s.result, true
		}
	}
	off := int32(len(m.lists))
	m.lists = append(m.lists, list...)
	list = m.lists[off:len(m.lists):len(m.lists)]

	level := m.conds.level(list[0].cond)
	for _, c := range list[1:] {
		level = min(level, m.conds.level(c.cond))
	}
	s := newSweep(m.conds, list, level)
	var starts []uint64
	var kids []ref
	for s.advance() {
		m.budget -= 1 + len(s.list)
		if m.budget < 0 {
			return 0, false
		}
		kid, ok := m.merge(s.list)
		if !ok {
			return 0, false
		}
		starts, kids = append(starts, s.start), append(kids, kid)
	}
	r := m.out.mk(m.order[level], starts, kids)
	if len(m.out.kids) > m.limit {
		return 0, false
	}
	m.memo[h] = append(m.memo[h], mergeState{off, int32(len(list)), r})
	return r, true
}

// sweep goes through the intervals of one variable, in which the conditions of a
// list do not change, and gives for each the list that is left.
type sweep struct {
	start  uint64   // first value of the interval
	list   []clause // what is left there, up to the first that is true
	events []event
	active []int32 // sorted indices into now of the conditions that can hold
	now    []clause
}

type event struct {
	at   uint64
	item int32
	cond ref
}

func newSweep(conds *store, list []clause, level int32) *sweep {
	s := &sweep{now: slices.Clone(list), active: make([]int32, 0, len(list))}
	for i, c := range list {
		if conds.level(c.cond) != level {
			s.active = append(s.active, int32(i))
			continue
		}
		s.now[i].cond = isFalse
		starts, kids := conds.node(c.cond)
		for j := range kids {
			s.events = append(s.events, event{starts[j], int32(i), kids[j]})
		}
	}
	slices.SortFunc(s.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.item, b.item))
	})
	return s
}

func (s *sweep) advance() bool {
	if len(s.events) == 0 {
		return false
	}
	s.start = s.events[0].at
	for len(s.events) > 0 && s.events[0].at == s.start {
		e := s.events[0]
		s.events = s.events[1:]
		was := s.now[e.item].cond
		s.now[e.item].cond = e.cond
		i, _ := slices.BinarySearch(s.active, e.item)
		switch {
		case was == isFalse && e.cond != isFalse:
			s.active = slices.Insert(s.active, i, e.item)
		case was != isFalse && e.cond == isFalse:
			s.active = slices.Delete(s.active, i, i+1)
		}
	}
	s.list = s.list[:0]
	for _, i := range s.active {
		s.list = append(s.list, s.now[i])
		if s.now[i].cond == isTrue {
			break
		}
	}
	return true
}
