package compiler_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Lint finds what the ERROR markers of the corpus say, and nothing else.
func TestLint(t *testing.T) {
	for _, pattern := range []string{"*.hop", "*.yaml"} {
		names, err := filepath.Glob(filepath.Join("testdata", "lint", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, names)
		for _, name := range names {
			t.Run(filepath.Base(name), func(t *testing.T) {
				text, err := os.ReadFile(name)
				require.NoError(t, err)
				file, err := lang.Parse(name, text)
				require.NoError(t, err)
				policy, err := compiler.Check(file, nil)
				require.NoError(t, err)
				found := append(policy.Warnings, compiler.Lint(policy, &compiler.LintOptions{NoHardPermit: true})...).Sort()
				expectMarkers(t, name, found)
				var rendered bytes.Buffer
				require.NoError(t, found.Render(&rendered, false))
				golden(t, name+".golden", markerless(rendered.String()))
			})
		}
	}
}

// What silences a finding, and what does not.
func TestAllowComments(t *testing.T) {
	for _, test := range []struct {
		name, statements string
		want             []string
	}{
		{"above", "# hopgate: allow redundant-rule documentation\n  rule a: deny if remote_port == 1", nil},
		{"at the end", "rule a: deny if remote_port == 1 # hopgate: allow redundant-rule documentation", nil},
		{"two", "# hopgate: allow redundant-rule documentation\n  # hopgate: allow always-true it reads better\n  rule a: deny if remote_port >= 0 and protocol == tcp", nil},
		{"above a statement of several lines", "# hopgate: allow always-true it reads better\n  rule a: allow if protocol == tcp and\n    remote_port >= 0", nil},
		{"above a set of several lines", "# hopgate: allow overlapping-entries kept by hand\n  set a = {\n    10.0.0.0/8,\n    10.0.0.1\n  }\n  rule a: allow if remote in $a", nil},
		{"another code", "# hopgate: allow never-true documentation\n  rule a: deny if remote_port == 1", []string{"redundant-rule"}},
		{"another statement", "# hopgate: allow redundant-rule documentation\n  rule a: allow if remote_port == 1\n  rule b: deny if remote_port == 2", []string{"redundant-rule"}},
		{"no reason", "rule a: deny if remote_port == 1 # hopgate: allow redundant-rule", []string{"allow-comment", "redundant-rule"}},
		{"no such code", "rule a: allow if remote_port == 1 # hopgate: allow redundent-rule documentation", []string{"allow-comment"}},
		{"a warning of Check", "# hopgate: allow unused-set for later\n  set a = { 10.0.0.1 }", nil},
		{"not an error", "rule a: allow if remote_port == 1 # hopgate: allow syntax documentation", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, d := range lintFindings(compiler.LintOptions{})(t, "policy p {\n  default deny\n  "+test.statements+"\n}\n") {
				got = append(got, d.Code)
			}
			require.ElementsMatch(t, test.want, got)
		})
	}
}

// However large a policy, lint ends, and says what it left open.
func TestLintIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	b.WriteString("policy p {\n  default deny\n")
	span := func() string {
		a, z := rng.IntN(65536), rng.IntN(65536)
		return fmt.Sprintf("%d-%d", min(a, z), max(a, z))
	}
	for i := range 6000 {
		fmt.Fprintf(&b, "  rule r%d: %s if remote_port in %s and local_port in %s and sub_interface in %s and compartment in %s\n",
			i, [...]string{"allow", "deny"}[i%2], span(), span(), span(), span())
	}
	b.WriteString("}\n")
	found := compiler.Lint(check(t, b.String()), nil)
	limits := 0
	for _, d := range found {
		if d.Code == "lint-limit" {
			require.Equal(t, lang.Info, d.Severity)
			limits++
		}
	}
	require.Equal(t, 1, limits)
}
