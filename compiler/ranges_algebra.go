package compiler

import "slices"

// firstReaching is the index of the first of some normal ranges that ends at v or
// after it.
func firstReaching(ranges []Range, v Value) int {
	lo, hi := 0, len(ranges)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if ranges[mid].Last.Compare(v) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// relate says how normal ranges lie to others, which are not empty.
func relate(set, to []Range) relation {
	if len(set) == 0 {
		return outside
	}
	start := firstReaching(to, set[0].First)
	if start == len(to) {
		return outside
	}
	in, out := false, start > 0
	for _, r := range to[start:] {
		i := firstReaching(set, r.First)
		switch {
		case i == len(set):
			if in {
				return partly
			}
			return outside
		case set[i].First.Compare(r.Last) > 0:
			out = true
		case set[i].First.Compare(r.First) > 0 || r.Last.Compare(set[i].Last) > 0:
			return partly
		default:
			in = true
		}
		if in && out {
			return partly
		}
	}
	if in {
		return covers
	}
	return outside
}

// intersect gives what two lists of normal ranges share.
func intersect(a, b []Range) []Range {
	var out []Range
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	a, b = a[firstReaching(a, b[0].First):], b[firstReaching(b, a[0].First):]
	for len(a) > 0 && len(b) > 0 {
		r := Range{maxValue(a[0].First, b[0].First), minValue(a[0].Last, b[0].Last)}
		if r.First.Compare(r.Last) <= 0 {
			out = append(out, r)
		}
		if a[0].Last.Compare(b[0].Last) < 0 {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// subtract gives what normal ranges have outside of others.
func subtract(a, b []Range) []Range {
	var out []Range
	if len(a) == 0 {
		return nil
	}
	b = b[firstReaching(b, a[0].First):]
	for _, r := range a {
		for len(b) > 0 && b[0].Last.Compare(r.First) < 0 {
			b = b[1:]
		}
		rest, done := r, false
		for _, cut := range b {
			if cut.First.Compare(rest.Last) > 0 {
				break
			}
			if cut.First.Compare(rest.First) > 0 {
				out = append(out, Range{rest.First, cut.First.prev()})
			}
			if cut.Last.Compare(rest.Last) >= 0 {
				done = true
				break
			}
			rest.First = cut.Last.next()
		}
		if !done {
			out = append(out, rest)
		}
	}
	return out
}

// unite gives what lies in either of two lists of normal ranges.
func unite(a, b []Range) []Range { return normalize(slices.Concat(a, b)) }

func maxValue(a, b Value) Value {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func minValue(a, b Value) Value {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}
