package codegen

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

func tableOf(t testing.TB, text string) (*Table, error) {
	file, err := lang.Parse("test.hop", []byte(text))
	require.NoError(t, err)
	p, err := compiler.Check(file, &compiler.Options{BindAll: true})
	require.NoError(t, err)
	d, err := compiler.Compile(p, nil)
	require.NoError(t, err)
	return GenerateTable(d, nil, Build{})
}

const tablePolicy = `policy sample {
  default deny
  hook accept
  set blocked dynamic = { 10.0.0.0/8, 2001:db8::/32 }
  rule smb: allow log if remote_port == 445 and not remote_address in $blocked
  rule web: allow audit if local_port == 80
}
`

// TestPackRoundTrip reads a packed policy and a map's value back.
func TestPackRoundTrip(t *testing.T) {
	table, err := tableOf(t, tablePolicy)
	require.NoError(t, err)
	data := table.Pack()
	require.True(t, IsPack(data))
	back, err := ReadPack("sample.hgp", data)
	require.NoError(t, err)
	require.Equal(t, table, back)
	require.Equal(t, data, back.Pack())

	value := JoinParts(back.Parts(&TableLoading{Generation: 7, Network: 9, Interfaces: []uint32{1}}))
	require.EqualValues(t, 7, TableGeneration(value))
	binary.LittleEndian.PutUint64(value[TableCounters+8:], 3)
	live, counters, err := ParseTableSheets(value)
	require.NoError(t, err)
	require.Equal(t, []uint64{0, 3, 0}, counters)
	require.Equal(t, table.PolicyHash, live.PolicyHash)
	require.Equal(t, table.image, live.image)
	want, err := table.Description()
	require.NoError(t, err)
	require.Equal(t, "sample", want.Policy)
	got, err := live.Description()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestDamagedTables refuses every packed policy and every value of a map of which one
// bit is wrong, and every cut.
func TestDamagedTables(t *testing.T) {
	table, err := tableOf(t, tablePolicy)
	require.NoError(t, err)
	data := table.Pack()
	for i := range data {
		_, err := ReadPack("sample.hgp", data[:i])
		require.Error(t, err, "cut at %d", i)
		data[i] ^= 1 << (i % 8)
		_, err = ReadPack("sample.hgp", data)
		require.Error(t, err, "bit flipped at %d", i)
		data[i] ^= 1 << (i % 8)
	}
	binary.LittleEndian.PutUint32(data[len(packMagic):], packVersion+1)
	_, err = ReadPack("sample.hgp", data)
	require.EqualError(t, err, "sample.hgp: packed policy of version 5; this hopgate reads 4")

	value := JoinParts(table.Parts(&TableLoading{Generation: 1}))
	changed := []int{headerMagic, headerVersion, headerFlags, headerRules, headerNodes, headerSets, headerHook,
		headerPolicyHash, headerChecksum, headerSetList, headerTrees, tableHeaderSize, len(table.image), len(table.image) + 9}
	for _, i := range changed {
		value[i] ^= 4
		_, _, err := ParseTableSheets(value)
		require.Error(t, err, "bit flipped at %d", i)
		value[i] ^= 4
	}
	_, _, err = ParseTableSheets(value)
	require.NoError(t, err)
}

// TestTableLimits goes beyond each limit; the error names it.
func TestTableLimits(t *testing.T) {
	var sets, rules strings.Builder
	for i := range MaxTableAnswers + 1 {
		fmt.Fprintf(&sets, "set s%d dynamic = { %d }\n", i, i+1)
		fmt.Fprintf(&rules, "rule r%d: allow if remote_port in $s%d\n", i, i)
	}
	_, err := tableOf(t, "policy p {\n default deny\n"+sets.String()+rules.String()+"}\n")
	require.ErrorIs(t, err, ErrTooLarge)
	require.NotErrorIs(t, err, ErrLargeTrees)
	require.EqualError(t, err, "policy `p` is too large for form table: it needs 13 fields looked up in dynamic sets and interfaces looked up by name, the limit is 12 [too-large]: use form code, or split the policy")

	rules.Reset()
	for i := range MaxTableRules + 1 {
		fmt.Fprintf(&rules, "rule r%d: allow if compartment == %d\n", i, i+1)
	}
	_, err = tableOf(t, "policy p {\n default deny\n"+rules.String()+"}\n")
	require.NotErrorIs(t, err, ErrLargeTrees)
	require.ErrorContains(t, err, "131072 rules, the limit is 131071 [too-large]")

	rules.Reset()
	for i := range 50000 {
		fmt.Fprintf(&rules, "rule r%d: deny if remote_address == 10.%d.%d.%d\n", i, i>>15, i>>7&255, 2*i&255)
	}
	table, err := tableOf(t, "policy p {\n default deny\n"+rules.String()+"}\n")
	require.NoError(t, err)
	require.Less(t, table.Nodes(), 17000) // some 6 intervals a node
}

// TestWindowsElements: eBPF for Windows moves a key and its value in one request, whose
// length is a u16 (ebpf_operation_header_t in ebpf_protocol.h).
func TestWindowsElements(t *testing.T) {
	engine, err := GenerateEngine(Windows)
	require.NoError(t, err)
	for _, m := range engine.Maps {
		for ; m != nil; m = m.InnerMap {
			require.Less(t, m.KeySize+m.ValueSize, uint32(65535-24), m.Name)
		}
	}
}

// TestTablePages: pages are the value, wherever its parts begin and end.
func TestTablePages(t *testing.T) {
	long := make([]byte, 2*TablePage)
	for i := range long {
		long[i] = byte(i*i>>8) | 1
	}
	parts := []TablePart{{0, []byte{1}}, {TablePage - 3, long}, {TableValueSize - 2, []byte{2, 3}}}
	pages := TablePages(parts)
	require.Len(t, pages, 4)
	joined := make([]byte, TableValueSize)
	for n, page := range pages {
		copy(joined[TablePage*n:], page)
	}
	require.Equal(t, JoinParts(parts), joined)
}
