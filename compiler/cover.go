package compiler

import "math/bits"

// Ranges that overlap in two fields stand on both sides of most cuts. But the more
// often one cuts, the more of them hold in all of what is left, and behind the first
// that does no other matters: of 5 000 random ranges of two fields few are ever the
// first. Beyond three fields that comes too late.
const (
	copies      = 8 // boxes for which there is room in the end, for each box of a tree
	spareCopies = 1000
	coverSides  = 3  // sides a box may have, on average
	coverTries  = 8  // values of a variable that are tried
	coverList   = 16 // boxes that may as well be tested one after the other
)

// coverCut finds the cut that leaves the fewest boxes up to the first on each side
// that holds in all of it. It gives false where both sides together have no room.
func (f *forest) coverCut(list []left, room int) (v int32, cut uint64, ok bool) {
	sides := 0
	for _, l := range list {
		sides += bits.OnesCount64(l.sides)
	}
	if len(list) < coverList || sides > coverSides*len(list) || len(list) > room {
		return 0, 0, false
	}
	best := 4 * len(list)
	for u := range int32(len(f.vars)) {
		in := f.region[u]
		bounds := f.starts(list, u, nil)[1:]
		step := 1 + len(bounds)/coverTries
		for i := step / 2; i < len(bounds); i += step {
			below := f.first(list, u, [2]uint64{in[0], bounds[i] - 1}, best/3)
			above := f.first(list, u, [2]uint64{bounds[i], in[1]}, best/3)
			if max(below, above) == len(list) || below+above > room {
				continue
			}
			if cost := 2*max(below, above) + below + above; cost < best {
				best, v, cut, ok = cost, u, bounds[i], true
			}
		}
	}
	return v, cut, ok
}

// first counts the boxes that meet an interval of the variable in the region, up to the
// first that holds in all of it, or to one more than most.
func (f *forest) first(list []left, v int32, in [2]uint64, most int) int {
	n := 0
	for _, l := range list {
		if l.sides>>v&1 != 0 {
			switch meet(f.boxes[l.box].side(v), in) {
			case outside:
				continue
			case covers:
				l.sides &^= 1 << v
			}
		}
		if n++; n > most || l.sides == 0 && !f.boxes[l.box].maybe {
			break
		}
	}
	return n
}
