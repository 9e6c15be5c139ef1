package cli

import (
	"path/filepath"
	"strings"

	"github.com/hopgate/hopgate/codegen"
)

// nameSources names the files that a program comes from relative to a folder, that of
// the policy: a policy gives the same object wherever it lies.
func nameSources(program *codegen.Program, folder string) {
	relative := func(file string) string {
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return file
		}
		return filepath.ToSlash(name)
	}
	for i := range program.Rules {
		r := &program.Rules[i]
		if file, at, ok := cutPosition(r.Source); ok {
			r.Source = relative(file) + at
		}
	}
	for _, f := range program.Functions {
		for i := range f.Instructions {
			if s, ok := f.Instructions[i].Source().(codegen.SourceLine); ok && s.File != "" {
				s.File = relative(s.File)
				f.Instructions[i] = f.Instructions[i].WithSource(s)
			}
		}
	}
}

// cutPosition cuts `file:line:col` before the line.
func cutPosition(source string) (file, position string, ok bool) {
	at := strings.LastIndexByte(source, ':')
	if at > 0 {
		at = strings.LastIndexByte(source[:at], ':')
	}
	if at <= 0 {
		return "", "", false
	}
	return source[:at], source[at:], true
}
