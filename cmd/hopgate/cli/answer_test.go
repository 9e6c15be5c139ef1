package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The limit on a request line is that of what stands on it, not of its end.
func TestLongestRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.hop")
	require.NoError(t, os.WriteFile(file, []byte("policy p {\n  default allow\n}\n"), 0o644))
	tooLong := fmt.Sprintf(`{"error":"the line is longer than %d bytes"}`, maxRequest)
	for length, want := range map[int]string{maxRequest: `{"verdict":"allow","rule":"default"}`, maxRequest + 1: tooLong} {
		for _, end := range []string{"\n", ""} {
			line := "{}" + strings.Repeat(" ", length-len("{}")) + end
			var out, errs bytes.Buffer
			Run([]string{"eval", file, "--requests", "-"}, strings.NewReader(line), &out, &errs)
			require.Equal(t, want+"\n", out.String(), "%s", errs.String())
		}
	}
}
