package verifier

import (
	"container/heap"
	"encoding/binary"
	"slices"
)

// place is a point in the run of a program: for each function that is being called,
// for each loop around, where it starts and how often it was run through, and at last
// the slot. Places in order are met in order, so that everything that leads to a place
// is known before it is looked at. A call site stands before what it calls.
//
//	12                  slot 12
//	7 3 9               slot 9, the fourth time round the loop that starts at slot 7
//	12 call 40          slot 40 of the function called at slot 12
type place []int32

// call marks a call within a place; it sorts before any slot.
const call = -1

func (p place) slot() int { return int(p[len(p)-1]) }

// caller is the place of the call in whose function this place is.
func (p place) caller() (place, bool) {
	i := len(p) - 1
	for ; i >= 0 && p[i] != call; i-- {
	}
	if i < 0 {
		return nil, false
	}
	return slices.Clone(p[:i]), true
}

func (p place) call(entry int) place {
	return append(slices.Clone(p), call, int32(entry))
}

// to is the place of another slot of the same function, and how often the innermost
// loop that it stands in was run through.
func (p place) to(slot int, loops map[int]int) (place, int) {
	base := len(p) - 1
	for base > 0 && p[base-1] != call {
		base--
	}
	next := slices.Clone(p[:base])
	around := p[base : len(p)-1] // pairs of start and turn
	from := p.slot()
	for i := 0; i+1 < len(around); i += 2 {
		start := int(around[i])
		if slot < start || slot > loops[start] {
			break // out of this loop, and of all in it
		}
		turn := around[i+1]
		if slot == start && slot <= from {
			return append(next, int32(start), turn+1, int32(slot)), int(turn) + 1
		}
		next = append(next, around[i], turn)
	}
	iteration := 0
	if _, starts := loops[slot]; starts {
		inside := len(next) >= base+2 && int(next[len(next)-2]) == slot
		if !inside {
			next = append(next, int32(slot), 0)
		}
	}
	if len(next) >= base+2 {
		iteration = int(next[len(next)-1])
	}
	return append(next, int32(slot)), iteration
}

func (p place) key() string {
	b := make([]byte, 0, 4*len(p))
	for _, n := range p {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return string(b)
}

// queue holds the states that are still to be followed, those of one place joined.
type queue struct {
	heap    places
	waiting map[string]*state
	heads   map[string]*state // by the start of a loop in its turn: the state there
	entered []bool            // by slot: jumps lead there
}

type places []place

func (h places) Len() int           { return len(h) }
func (h places) Less(i, j int) bool { return slices.Compare(h[i], h[j]) < 0 }
func (h places) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *places) Push(x any)        { *h = append(*h, x.(place)) }
func (h *places) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (q *queue) add(p place, s *state) {
	if q.waiting == nil {
		q.waiting, q.heads = map[string]*state{}, map[string]*state{}
	}
	k := p.key()
	if was, ok := q.waiting[k]; ok {
		q.waiting[k] = was.join(s)
		return
	}
	q.waiting[k] = s
	heap.Push(&q.heap, p)
}

func (q *queue) next() (place, *state, bool) {
	if q.heap.Len() == 0 {
		return nil, nil, false
	}
	p := heap.Pop(&q.heap).(place)
	k := p.key()
	s := q.waiting[k]
	delete(q.waiting, k)
	if n := len(p); n >= 3 && p[n-3] == p[n-1] && p[n-2] >= 0 { // the start of a loop
		q.heads[k] = s.clone()
		delete(q.heads, turnBefore(turnBefore(p)).key())
	}
	return p, s, true
}

// turnBefore is the place a turn earlier.
func turnBefore(p place) place {
	q := slices.Clone(p)
	q[len(q)-2]--
	return q
}

// stuck reports whether a turn of a loop begins as the one before did.
func (q *queue) stuck(p place, s *state) bool {
	if len(p) < 3 {
		return false
	}
	was, ok := q.heads[turnBefore(p).key()]
	return ok && s.within(was)
}
