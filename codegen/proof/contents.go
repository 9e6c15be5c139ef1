package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/compiler"
)

// checkContents compares what a set's map starts with with the set: prefixes of the
// value 1 that together are its ranges, and the whole line of the value 0.
func checkContents(s *compiler.Set, m *ebpf.MapSpec) error {
	width := 8 * (int(m.KeySize) - 4)
	address := s.Field == compiler.RemoteAddress || s.Field == compiler.LocalAddress
	var got []compiler.Range
	whole := false
	for _, kv := range m.Contents {
		key, isBytes := kv.Key.([]byte)
		value, isBytesToo := kv.Value.([]byte)
		if !isBytes || !isBytesToo || len(key) != int(m.KeySize) || len(value) != 4 {
			return errors.New("entries that are not understood")
		}
		length := int(binary.LittleEndian.Uint32(key))
		member := binary.LittleEndian.Uint32(value)
		if length == 0 && member == 0 {
			whole = true
			continue
		}
		if member != 1 || length > width {
			return errors.New("an entry that is no prefix of members")
		}
		got = append(got, prefixRange(key[4:], length, address && width == 32))
	}
	if !whole {
		return errors.New("no entry for the whole line")
	}
	var want []compiler.Range
	for _, r := range s.Ranges {
		if !address || compiler.IsMapped(r) == (width == 32) {
			want = append(want, r)
		}
	}
	if got = merge(got); !slices.Equal(got, want) {
		return fmt.Errorf("%d ranges where the set has %d, or others", len(got), len(want))
	}
	return nil
}

// prefixRange is all values that begin like a key.
func prefixRange(data []byte, length int, mapped bool) compiler.Range {
	var first, last compiler.Value
	for i, b := range data {
		free := byte(0xff)
		switch fixed := length - 8*i; {
		case fixed >= 8:
			free = 0
		case fixed > 0:
			free = 0xff >> fixed
		}
		first = shift(first, b&^free)
		last = shift(last, b|free)
	}
	if mapped {
		first.Lo |= 0xffff_0000_0000
		last.Lo |= 0xffff_0000_0000
	}
	return compiler.Range{First: first, Last: last}
}

func shift(v compiler.Value, b byte) compiler.Value {
	return compiler.Value{Hi: v.Hi<<8 | v.Lo>>56, Lo: v.Lo<<8 | uint64(b)}
}

// merge sorts ranges and joins those that touch.
func merge(list []compiler.Range) []compiler.Range {
	slices.SortFunc(list, func(a, b compiler.Range) int { return a.First.Compare(b.First) })
	var out []compiler.Range
	for _, r := range list {
		if n := len(out); n > 0 && touches(out[n-1].Last, r.First) {
			if out[n-1].Last.Compare(r.Last) < 0 {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// touches reports whether nothing lies between last and first.
func touches(last, first compiler.Value) bool {
	if last.Lo == math.MaxUint64 {
		last.Hi++
		last.Lo = 0
		return last.Hi == 0 || first.Compare(last) <= 0
	}
	last.Lo++
	return first.Compare(last) <= 0
}
