package tests

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/cmd/hopgate/cli"
)

// The output is valid by OASIS's schema, with errors, notes, warnings, none of
// these, and file names that are no URIs.
func TestSARIFIsValid(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"good.hop":          "policy good { default allow }",
		"errors.hop":        "policy p {\n  default maybe\n  rule a: deny\n  rule a: deny if interface_type == wify\n}",
		"warning.hop":       "policy p {\n  default allow\n  rule wifi: deny if interface_type == 0\n}",
		"a name: 100%.yaml": "version: 1\npolicy: é\ndefault: off\n",
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o666))
		path := name
		for range 2 {
			var out bytes.Buffer
			cli.Run([]string{"check", "--sarif", path}, strings.NewReader(""), &out, &out)
			known := json.NewDecoder(bytes.NewReader(out.Bytes()))
			known.DisallowUnknownFields()
			require.NoError(t, known.Decode(new(sarif.Report)), path)
			report, err := sarif.FromBytes(out.Bytes())
			require.NoError(t, err, path)
			require.Len(t, report.Runs, 1)
			run := report.Runs[0]
			// The library validates what it would write, in which a field that is
			// absent is empty: give these the values that absence stands for.
			run.Language, run.Tool.Driver.Language, run.NewlineSequences = "en-US", "en-US", []string{"\r\n", "\n"}
			require.NoError(t, report.Validate(), path)
			require.Equal(t, name == "good.hop", len(run.Results) == 0, path)
			if len(run.Results) > 0 {
				run.Results[0].Level = "grave"
				require.Error(t, report.Validate(), "the schema is not asked")
			}

			path, err = filepath.Abs(name)
			require.NoError(t, err)
		}
	}
}
