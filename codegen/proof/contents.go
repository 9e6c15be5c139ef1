package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// checkContents compares the table that a set starts with with the set.
func checkContents(s *compiler.Set, ipv6 bool, m *ebpf.MapSpec) error {
	var blocks []byte
	for i, kv := range m.Contents {
		key, isBytes := kv.Key.([]byte)
		value, isBytesToo := kv.Value.([]byte)
		if !isBytes || !isBytesToo || len(key) != 4 || binary.LittleEndian.Uint32(key) != uint32(i) {
			return errors.New("entries that are not understood")
		}
		blocks = append(blocks, value...)
	}
	return checkBlocks(s, ipv6, blocks)
}

// checkBlocks compares the bytes of a table with a set.
func checkBlocks(s *compiler.Set, ipv6 bool, blocks []byte) error {
	field, got, err := codegen.TableRanges(blocks, ipv6)
	if err != nil {
		return err
	}
	if field != s.Field {
		return fmt.Errorf("values of %s where the set has those of %s", field, s.Field)
	}
	var want []compiler.Range
	for _, r := range s.Ranges {
		ok := true
		if s.Field == compiler.RemoteAddress {
			r, ok = r.OfFamily(ipv6)
		}
		if ok {
			want = append(want, r)
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%d ranges where the set has %d, or others", len(got), len(want))
	}
	return nil
}

// checkSetsMap checks that the map of the sets' tables leads to each of them.
func (c *checker) checkSetsMap(m *ebpf.MapSpec) error {
	if m.Type != c.mapType(ebpf.WindowsArrayOfMaps, ebpf.ArrayOfMaps) || m.KeySize != 4 {
		return &errWrong{reason: "the map of the sets is no array of maps"}
	}
	leads := map[uint32]string{}
	for _, kv := range m.Contents {
		key, isBytes := kv.Key.([]byte)
		name, isName := kv.Value.(string)
		if !isBytes || len(key) != 4 || !isName {
			return &errWrong{reason: "the map of the sets has entries that are not understood"}
		}
		leads[binary.LittleEndian.Uint32(key)] = name
	}
	for i, s := range c.policy.Sets {
		for _, ipv6 := range []bool{false, true} {
			if ipv6 && s.Field != compiler.RemoteAddress {
				continue
			}
			if leads[codegen.SetKey(i, ipv6)] != codegen.SetMapName(s, ipv6) {
				return &errWrong{reason: fmt.Sprintf("the map of the sets does not lead to set `%s`", s.Name)}
			}
		}
	}
	return nil
}

// tableKey is the length of the keys of lookups in a set's table: 4 bytes for their
// length and those of a value.
func tableKey(s *compiler.Set, ipv6 bool) int {
	switch {
	case ipv6:
		return 4 + 16
	case s.Field == compiler.NextHop:
		return 4 + 8
	}
	return 4 + 4
}
