package runtime

import (
	"encoding/binary"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/runtime/vm"
)

// counters are where a program counts the decisions by rule.
type counters struct {
	values *vm.Map  // nil where it counts nothing
	from   int      // of a table: the place of the first counter in the only value
	seen   []uint64 // the counters as they stood last, by rule
	moved  []uint32 // those that the last run moved
}

// read notes the counters that a run on a CPU has moved.
func (c *counters) read(cpu uint) {
	switch {
	case c.values == nil:
	case c.from > 0:
		c.moved = c.values.ChangesWithin(c.from, c.seen, c.moved[:0])
	default:
		c.moved = c.values.Changes(int(cpu), c.seen, c.moved[:0])
	}
}

// sums are the counters of all CPUs, by rule; nil where nothing is counted.
func (c *counters) sums() []uint64 {
	if c.values == nil {
		return nil
	}
	counts := make([]uint64, len(c.seen))
	if c.from > 0 {
		c.values.ChangesWithin(c.from, counts, nil)
		return counts
	}
	for k := range counts {
		// An index beyond the map was never counted.
		counts[k], _ = c.values.Sum(binary.LittleEndian.AppendUint32(nil, uint32(k)))
	}
	return counts
}

// countersOf finds the counters of a program that is no engine.
func countersOf(program *codegen.Program, maps map[string]*vm.Map) counters {
	m := maps[codegen.CountersMap]
	if m == nil || len(program.Rules) == 0 {
		return counters{}
	}
	return counters{values: m, seen: make([]uint64, len(program.Rules))}
}
