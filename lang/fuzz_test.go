package lang_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/hopgate/hopgate/lang"
)

// fuzzParse parses arbitrary text, renders what is said about it, and formats and
// reads back what has no errors.
func fuzzParse(f *testing.F, name string, syntax lang.Syntax) {
	for _, pattern := range []string{"policies/*", "errors/*"} {
		for _, path := range glob(f, pattern+extensions[syntax]) {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	for _, c := range lang.Codes() {
		if c.Syntax == syntax {
			f.Add([]byte(c.Bad))
			f.Add([]byte(c.Good))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := lang.Parse(name, src)
		if err != nil {
			var out bytes.Buffer
			if e := err.(lang.Diagnostics).Render(&out, true); e != nil || out.Len() == 0 {
				t.Fatal("nothing rendered")
			}
			return
		}
		for to := range extensions {
			text := lang.Format(file, lang.Syntax(to))
			again, err := lang.Parse("x"+extensions[to], text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if twice := lang.Format(again, lang.Syntax(to)); !bytes.Equal(text, twice) {
				t.Fatalf("formatted twice:\n%s\n%s", text, twice)
			}
		}
	})
}

func FuzzParseDSL(f *testing.F)  { fuzzParse(f, "x.hop", lang.DSL) }
func FuzzParseYAML(f *testing.F) { fuzzParse(f, "x.yaml", lang.YAML) }
