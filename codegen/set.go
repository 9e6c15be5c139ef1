package codegen

import (
	"encoding/binary"
	"math"
	mathbits "math/bits"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/compiler"
)

// A dynamic set is an LPM trie, or two of them for addresses. A key is a prefix
// length in bits and the field's value in network byte order. The value of a
// member's prefix is 1. The whole line, prefix length 0, has the value 0: finding
// nothing at all means that the set was never filled, and denies.

// dynamicSetEntries is the room a set has at least, in prefixes.
const dynamicSetEntries = 65536

// SetMapName is the map that holds a dynamic set's values for an address family;
// sets of other things than addresses have one map, for IPv4 and IPv6 alike.
func SetMapName(s *compiler.Set, ipv6 bool) string {
	if s.Field == compiler.RemoteAddress && ipv6 {
		return "set6_" + cIdentifier(s.Name)
	}
	return "set_" + cIdentifier(s.Name)
}

// cIdentifier spells a name of the language as a C identifier; different names
// stay different.
func cIdentifier(name string) string {
	var b []byte
	for _, c := range []byte(name) {
		switch c {
		case '-':
			b = append(b, "__"...)
		case '_':
			b = append(b, "_u"...)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func setMaps(s *compiler.Set, target Target) []*ebpf.MapSpec {
	specs := []*ebpf.MapSpec{setMap(s, false, target)}
	if s.Field == compiler.RemoteAddress {
		specs = append(specs, setMap(s, true, target))
	}
	return specs
}

func setMap(s *compiler.Set, ipv6 bool, target Target) *ebpf.MapSpec {
	size := setKeyBytes(s.Field, ipv6)
	contents := SetContents(s.Field, s.Ranges, ipv6)
	spec := &ebpf.MapSpec{
		Name: SetMapName(s, ipv6), Type: target.mapType(ebpf.WindowsLPMTrie),
		KeySize: 4 + size, ValueSize: 4,
		MaxEntries: max(dynamicSetEntries, uint32(2*len(contents))), Contents: contents,
	}
	if target == Linux {
		spec.Flags = linuxNoPrealloc // demanded of tries
	}
	return spec
}

// setKeyBytes is the length of a value of the field in a key.
func setKeyBytes(f compiler.Field, ipv6 bool) uint32 {
	switch f {
	case compiler.RemoteAddress, compiler.LocalAddress:
		if ipv6 {
			return 16
		}
		return 4
	case compiler.NextHop, compiler.Interface:
		return 8
	}
	return 4
}

// SetContents gives the entries of a dynamic set's map: the prefixes that make up
// the ranges, and the whole line.
func SetContents(f compiler.Field, ranges []compiler.Range, ipv6 bool) []ebpf.MapKV {
	width := 8 * int(setKeyBytes(f, ipv6))
	entry := func(v compiler.Value, length int, member uint32) ebpf.MapKV {
		key := binary.NativeEndian.AppendUint32(nil, uint32(length))
		if width == 128 {
			key = binary.BigEndian.AppendUint64(key, v.Hi)
		}
		if width >= 64 {
			key = binary.BigEndian.AppendUint64(key, v.Lo)
		} else {
			key = binary.BigEndian.AppendUint32(key, uint32(v.Lo))
		}
		return ebpf.MapKV{Key: key, Value: binary.NativeEndian.AppendUint32(nil, member)}
	}
	contents := []ebpf.MapKV{entry(compiler.Value{}, 0, 0)}
	address := f == compiler.RemoteAddress || f == compiler.LocalAddress
	for _, r := range ranges {
		if address && compiler.IsMapped(r) == ipv6 {
			continue
		}
		for _, p := range prefixes(r, width) {
			contents = append(contents, entry(p.first, p.length, 1))
		}
	}
	return contents
}

type prefix struct {
	first  compiler.Value
	length int // in bits
}

// prefixes cuts a range of values of a width into the fewest prefixes.
func prefixes(r compiler.Range, width int) []prefix {
	var list []prefix
	for v := r.First; ; {
		free := min(trailingZeros(v), width)
		for free > 0 && lastOf(v, free).Compare(r.Last) > 0 {
			free--
		}
		list = append(list, prefix{v, width - free})
		last := lastOf(v, free)
		if last.Compare(r.Last) >= 0 {
			return list
		}
		lo, carry := mathbits.Add64(last.Lo, 1, 0)
		v = compiler.Value{Hi: last.Hi + carry, Lo: lo}
	}
}

func trailingZeros(v compiler.Value) int {
	if v.Lo != 0 {
		return mathbits.TrailingZeros64(v.Lo)
	}
	return 64 + mathbits.TrailingZeros64(v.Hi)
}

// lastOf is the last value that differs from v only in its low free bits.
func lastOf(v compiler.Value, free int) compiler.Value {
	if free >= 64 {
		return compiler.Value{Hi: v.Hi | lowBits(free-64), Lo: math.MaxUint64}
	}
	return compiler.Value{Hi: v.Hi, Lo: v.Lo | lowBits(free)}
}

func lowBits(n int) uint64 { return 1<<n - 1 }
