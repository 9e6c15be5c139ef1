package compiler

import "slices"

// firstReaching is the index of the first of some normal ranges that ends at v or
// after it. It looks near the beginning first, as lists are gone through in order.
func firstReaching(ranges []Range, v Value) int {
	lo, hi := 0, 1
	for hi <= len(ranges) && ranges[hi-1].Last.less(v) {
		lo, hi = hi, 2*hi
	}
	hi = min(hi-1, len(ranges))
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if ranges[mid].Last.less(v) {
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
		set = set[firstReaching(set, r.First):]
		switch {
		case len(set) == 0:
			if in {
				return partly
			}
			return outside
		case r.Last.less(set[0].First):
			out = true
		case r.First.less(set[0].First) || set[0].Last.less(r.Last):
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
		if !r.Last.less(r.First) {
			out = append(out, r)
		}
		if a[0].Last.less(b[0].Last) {
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
		for len(b) > 0 && b[0].Last.less(r.First) {
			b = b[1:]
		}
		rest, done := r, false
		for _, cut := range b {
			if rest.Last.less(cut.First) {
				break
			}
			if rest.First.less(cut.First) {
				out = append(out, Range{rest.First, cut.First.prev()})
			}
			if !cut.Last.less(rest.Last) {
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
	if a.less(b) {
		return b
	}
	return a
}

func minValue(a, b Value) Value {
	if a.less(b) {
		return a
	}
	return b
}
