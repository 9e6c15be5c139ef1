package lang_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with a file, or writes the file under -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	sameText(t, string(want), string(got))
}

// sameText requires two texts to be equal, and shows the first line that is not.
func sameText(t testing.TB, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			t.Fatalf("line %d:\nwant %q\n got %q", i+1, append(w, "(end)")[i], append(g, "(end)")[i])
		}
	}
}

// glob lists files of testdata and fails when there are none.
func glob(t testing.TB, patterns ...string) []string {
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join("testdata", p))
		require.NoError(t, err)
		paths = append(paths, found...)
	}
	require.NotEmpty(t, paths)
	return paths
}

// TestErrors holds what is said about each broken policy of testdata/errors.
func TestErrors(t *testing.T) {
	for _, path := range glob(t, "errors/*.hop", "errors/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = lang.Parse(filepath.Base(path), src)
			var found lang.Diagnostics
			require.True(t, errors.As(err, &found))
			var got bytes.Buffer
			require.NoError(t, found.Render(&got, false))
			golden(t, path+".golden", got.Bytes())
		})
	}
}
