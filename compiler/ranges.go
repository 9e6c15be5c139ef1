package compiler

import "slices"

// normalize sorts the ranges and joins those that overlap or touch. It may
// change its argument.
func normalize(ranges []Range) []Range {
	if isNormal(ranges) {
		return ranges
	}
	slices.SortFunc(ranges, Range.compare)
	out := ranges[:1]
	for _, r := range ranges[1:] {
		last := &out[len(out)-1]
		switch {
		case r.First.Compare(last.Last) > 0 && r.First != last.Last.next():
			out = append(out, r)
		case r.Last.Compare(last.Last) > 0:
			last.Last = r.Last
		}
	}
	return slices.Clip(out)
}

// isNormal reports whether the ranges are sorted, disjoint and not touching.
func isNormal(ranges []Range) bool {
	for i := 1; i < len(ranges); i++ {
		end := ranges[i-1].Last
		if ranges[i].First.Compare(end) <= 0 || ranges[i].First == end.next() {
			return false
		}
	}
	return true
}

// complement is what the domain has outside of normal ranges.
func complement(ranges []Range, domain Range) []Range {
	var out []Range
	next := domain.First
	for _, r := range ranges {
		if next.Compare(r.First) < 0 {
			out = append(out, Range{next, r.First.prev()})
		}
		if r.Last.Compare(domain.Last) >= 0 {
			return out
		}
		next = r.Last.next()
	}
	return append(out, Range{next, domain.Last})
}

// OfFamily is the part of a range of addresses that connections of a family can have; ok
// is false for none. That of IPv6 may reach over the IPv4-mapped block, where no IPv6
// connection is.
func (r Range) OfFamily(ipv6 bool) (part Range, ok bool) {
	if ipv6 {
		return r, !IsMapped(r)
	}
	part = Range{maxValue(r.First, mapped.First), minValue(r.Last, mapped.Last)}
	return part, !part.Last.less(part.First)
}

// compare orders ranges by their first value, then by their last.
func (r Range) compare(s Range) int {
	if c := r.First.Compare(s.First); c != 0 {
		return c
	}
	return r.Last.Compare(s.Last)
}

// without cuts the block out of the range: nothing, one or two ranges are left.
func (r Range) without(block Range) []Range {
	if r.Last.Compare(block.First) < 0 || r.First.Compare(block.Last) > 0 {
		return []Range{r}
	}
	var out []Range
	if r.First.Compare(block.First) < 0 {
		out = append(out, Range{r.First, block.First.prev()})
	}
	if r.Last.Compare(block.Last) > 0 {
		out = append(out, Range{block.Last.next(), r.Last})
	}
	return out
}
