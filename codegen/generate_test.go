package codegen

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Form code for Windows has LUIDs in it: an interface that the diagram leaves open cannot
// be looked up. A register that nobody had written was compared before.
func TestGenerateUnbound(t *testing.T) {
	b := compiler.New("vpn").Default(lang.Deny).Interface("vpn", "alias", "wg0")
	b.Rule("vpn").Allow(compiler.NextHop.Is("$vpn"))
	policy, err := b.Policy()
	require.NoError(t, err)
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{FreeInterfaces: true})
	require.NoError(t, err)
	_, err = Generate(diagram, nil)
	require.EqualError(t, err, "interface `vpn` is not bound to a LUID, which form code for target windows needs [unbound-interface]")
	_, err = Generate(diagram, &Options{Target: Linux})
	require.NoError(t, err)
	_, err = Generate(diagram, &Options{Target: 9})
	require.EqualError(t, err, "there is no target-9")
}

// What is generated for small policies, one thing at a time, as a reader sees it.
// A change of these files is a change of every user's programs.
func TestListingsOfPolicies(t *testing.T) {
	policies, err := filepath.Glob("testdata/generate/*.hop")
	require.NoError(t, err)
	require.NotEmpty(t, policies)
	for _, path := range policies {
		t.Run(filepath.Base(path), func(t *testing.T) {
			listing := list(t, path)
			golden := strings.TrimSuffix(path, ".hop") + ".asm"
			if *updateListings {
				require.NoError(t, os.WriteFile(golden, listing, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), string(listing))
		})
	}
}

func list(t *testing.T, path string) []byte {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	file, err := lang.Parse(filepath.Base(path), text)
	require.NoError(t, err)
	policy, err := compiler.Check(file, nil)
	require.NoError(t, err)
	counters := !bytes.Contains(text, []byte("# no counters"))
	diagram, err := compiler.Compile(policy, &compiler.CompileOptions{MergeRules: !counters})
	require.NoError(t, err)
	program, err := Generate(diagram, &Options{NoCounters: !counters})
	require.NoError(t, err)
	var listing bytes.Buffer
	require.NoError(t, program.WriteASM(&listing))
	return listing.Bytes()
}
