package compiler_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Every mistake in the corpus is found where an ERROR marker says, nothing else
// is, and the golden file shows how a person sees it.
func TestErrors(t *testing.T) {
	for _, pattern := range []string{"*.hop", "*.yaml"} {
		names, err := filepath.Glob(filepath.Join("testdata", "errors", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, names)
		for _, name := range names {
			t.Run(filepath.Base(name), func(t *testing.T) {
				found := findings(t, name)
				expectMarkers(t, name, found)
				var rendered bytes.Buffer
				require.NoError(t, found.Render(&rendered, false))
				golden(t, name+".golden", markerless(rendered.String()))
			})
		}
	}
}

// findings are what parsing and checking a file find.
func findings(t *testing.T, name string) lang.Diagnostics {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	file, err := lang.Parse(name, text)
	var found, more lang.Diagnostics
	errors.As(err, &found)
	require.NotNil(t, file)
	policy, err := compiler.Check(file, nil)
	if errors.As(err, &more) {
		require.Nil(t, policy)
	} else {
		more = policy.Warnings
	}
	return append(found, more...).Sort()
}

var (
	markerPattern = regexp.MustCompile(` *# ERROR (.*)`)
	quotedPattern = regexp.MustCompile(`"([^"]*)"`)
)

// markerless drops the markers from the source lines of rendered findings.
func markerless(text string) string { return markerPattern.ReplaceAllString(text, "") }

// expectMarkers compares findings with the markers in the files they are about.
func expectMarkers(t *testing.T, name string, found lang.Diagnostics) {
	type place struct {
		file string
		line int
	}
	messages := map[place][]string{}
	files := map[string]bool{name: true}
	for _, d := range found {
		line, _ := d.Source.Position(d.Start)
		at := place{d.Source.Name, line}
		messages[at] = append(messages[at], d.Message+" ["+d.Code+"]")
		files[d.Source.Name] = true
	}
	for file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			at := place{file, i + 1}
			got := messages[at]
			if marker := markerPattern.FindStringSubmatch(line); marker != nil {
				for _, quoted := range quotedPattern.FindAllStringSubmatch(marker[1], -1) {
					if len(got) == 0 {
						t.Errorf("%s:%d: no finding matches %q", file, i+1, quoted[1])
						continue
					}
					require.Regexp(t, quoted[1], got[0], "%s:%d", file, i+1)
					got = got[1:]
				}
			}
			require.Empty(t, got, "%s:%d: not expected", file, i+1)
		}
	}
}

// golden compares text with a file, or with -update writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}
