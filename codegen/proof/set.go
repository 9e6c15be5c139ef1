package proof

import "math"

// span is the numbers from first to last, both included.
type span struct{ first, last uint64 }

// set is a set of numbers: spans that are sorted, disjoint and do not touch. Sets
// are never changed once made, so that they can be shared.
type set []span

func point(n uint64) set { return set{{n, n}} }

// ones is the number whose low n bits are set.
func ones(n uint) uint64 {
	if n >= 64 {
		return math.MaxUint64
	}
	return 1<<n - 1
}

func (s set) contains(n uint64) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := (lo + hi) / 2
		if s[mid].last < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s) && s[lo].first <= n
}

// same reports whether two sets are one in memory, or have the same numbers.
func (s set) same(t set) bool {
	if len(s) != len(t) {
		return false
	}
	if len(s) == 0 || &s[0] == &t[0] {
		return true
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// relation says how two sets lie to each other.
type relation uint8

const (
	apart  relation = iota // nothing in common
	inside                 // all of the first is in the second
	partly
)

// in says how s lies to t.
func (s set) in(t set) relation {
	met, missed := false, false
	j := 0
	for _, a := range s {
		for j < len(t) && t[j].last < a.first {
			j++
		}
		switch {
		case j == len(t) || t[j].first > a.last:
			missed = true
		case t[j].first <= a.first && a.last <= t[j].last:
			met = true
		default:
			return partly
		}
		if met && missed {
			return partly
		}
	}
	if met || len(s) == 0 {
		return inside
	}
	return apart
}

// and is what the sets have in common; s itself if that is all of it.
func (s set) and(t set) set {
	switch s.in(t) {
	case inside:
		return s
	case apart:
		return nil
	}
	var out set
	for i, j := 0, 0; i < len(s) && j < len(t); {
		first, last := max(s[i].first, t[j].first), min(s[i].last, t[j].last)
		if first <= last {
			out = append(out, span{first, last})
		}
		if s[i].last < t[j].last {
			i++
		} else {
			j++
		}
	}
	return out
}

// or is what is in either set; s or t itself if that has all of the other.
func (s set) or(t set) set {
	switch {
	case len(t) == 0 || s.same(t):
		return s
	case len(s) == 0:
		return t
	}
	out := make(set, 0, len(s)+len(t))
	for i, j := 0, 0; i < len(s) || j < len(t); {
		var next span
		if j == len(t) || i < len(s) && s[i].first <= t[j].first {
			next = s[i]
			i++
		} else {
			next = t[j]
			j++
		}
		if n := len(out); n > 0 && (out[n-1].last == math.MaxUint64 || next.first <= out[n-1].last+1) {
			out[n-1].last = max(out[n-1].last, next.last)
		} else {
			out = append(out, next)
		}
	}
	if out.same(s) {
		return s
	}
	return out
}

// not is what is missing from 0 to last.
func (s set) not(last uint64) set {
	out := set{}
	next := uint64(0)
	for _, a := range s {
		if a.first > last {
			break
		}
		if a.first > next {
			out = append(out, span{next, a.first - 1})
		}
		if a.last >= last {
			return out
		}
		next = a.last + 1
	}
	return append(out, span{next, last})
}
