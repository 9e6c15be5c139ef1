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

// What `hopgate explain` shows is true: the bad example gets the code and nothing
// else, and the good one gets nothing.
func TestCodeExamples(t *testing.T) {
	for _, code := range compiler.Codes() {
		t.Run(code.Name, func(t *testing.T) {
			require.NotEmpty(t, code.Explanation)
			find := checkFindings
			if code.Name == "unbound-interface" {
				find = compileFindings
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

func compileFindings(t *testing.T, example string) (found lang.Diagnostics) {
	_, err := compiler.Compile(check(t, example), nil)
	errors.As(err, &found)
	return found
}

// The corpus of errors meets every code.
func TestEveryCodeIsInTheCorpus(t *testing.T) {
	goldens, err := filepath.Glob("testdata/errors/*.golden")
	require.NoError(t, err)
	seen := map[string]bool{
		"unbound-interface": true,                          // Compile's
		"import-cycle":      true, "import-conflict": true, // in the tests of imports
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
