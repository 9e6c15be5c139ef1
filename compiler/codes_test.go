package compiler_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// lints are the codes of Lint.
var lints = map[string]bool{
	"never-true": true, "always-true": true, "after-unconditional": true, "shadowed-rule": true, "shadowed-now": true,
	"redundant-rule": true, "partly-shadowed": true, "vacuous-assert": true, "vacuous-test": true, "vpn-by-type": true,
	"no-hard-permit": true, "allow-comment": true, "lint-limit": true,
}

// What `hopgate explain` shows is true: the bad example gets the code and nothing
// else, and the good one gets nothing.
func TestCodeExamples(t *testing.T) {
	for _, code := range compiler.Codes() {
		t.Run(code.Name, func(t *testing.T) {
			require.NotEmpty(t, code.Explanation)
			find := checkFindings
			switch code.Name {
			case "unbound-interface":
				find = compileFindings
			case "partly-shadowed":
				find = lintFindings(compiler.LintOptions{Pedantic: true})
			case "no-hard-permit":
				find = lintFindings(compiler.LintOptions{NoHardPermit: true})
			case "lint-limit":
				t.Skip("it takes a policy of thousands of rules, see TestLintIsBounded")
			default:
				if lints[code.Name] {
					find = lintFindings(compiler.LintOptions{})
				}
			}
			found := find(t, code.Bad)
			require.NotEmpty(t, found)
			for _, d := range found {
				require.Equal(t, code.Name, d.Code, "%v", found)
				require.Equal(t, code.Severity, d.Severity)
			}
			require.Empty(t, find(t, code.Good))
		})
	}
}

// checkFindings checks a policy, or the first of an archive.
func checkFindings(t *testing.T, example string) lang.Diagnostics {
	files := fileSet{"example.hop": example}
	if strings.HasPrefix(example, "-- ") {
		files = archive(example)
	}
	policy, err := checkFiles(files, "example.hop", nil)
	var found lang.Diagnostics
	if !errors.As(err, &found) {
		found = policy.Warnings
	}
	return found
}

// lintFindings are those of check and lint.
func lintFindings(opts compiler.LintOptions) func(t *testing.T, example string) lang.Diagnostics {
	return func(t *testing.T, example string) lang.Diagnostics {
		policy := check(t, example)
		return append(policy.Warnings, compiler.Lint(policy, &opts)...)
	}
}

func compileFindings(t *testing.T, example string) (found lang.Diagnostics) {
	_, err := compiler.Compile(check(t, example), nil)
	errors.As(err, &found)
	return found
}

// The corpus of errors meets every code.
func TestEveryCodeIsInTheCorpus(t *testing.T) {
	goldens, err := filepath.Glob("testdata/*/*.golden")
	require.NoError(t, err)
	seen := map[string]bool{
		"unbound-interface": true,                     // Compile's
		"allow-comment":     true,                     // in TestAllowComments
		"partly-shadowed":   true, "lint-limit": true, // with Lint's options, or a policy of thousands of rules
		"import-cycle": true, "import-conflict": true, // in the tests of imports
	}
	for _, name := range goldens {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, code := range regexp.MustCompile(`(?m)\[([a-z-]+)\]$`).FindAllStringSubmatch(string(text), -1) {
			seen[code[1]] = true
		}
	}
	for _, code := range compiler.Codes() {
		require.True(t, seen[code.Name], code.Name)
	}
}
