package cli

import (
	"path/filepath"
	"strings"

	"github.com/hopgate/hopgate/codegen"
)

// nameSources names the files that a program comes from relative to a folder, that of
// the policy: a policy gives the same object wherever it lies.
func nameSources(program *codegen.Program, folder string) {
	nameRuleSources(program.Rules, folder)
	for _, f := range program.Functions {
		for i := range f.Instructions {
			if s, ok := f.Instructions[i].Source().(codegen.SourceLine); ok && s.File != "" {
				s.File = relativeTo(folder, s.File)
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

// nameTableSources names the files that a table comes from, as nameSources does.
func nameTableSources(table *codegen.Table, folder string) error {
	return table.Revise(func(d *codegen.TableDescription) { nameRuleSources(d.Rules, folder) })
}

func nameRuleSources(rules []codegen.Rule, folder string) {
	for i := range rules {
		if file, at, ok := cutPosition(rules[i].Source); ok {
			rules[i].Source = relativeTo(folder, file) + at
		}
	}
}

func relativeTo(folder, file string) string {
	name, err := filepath.Rel(folder, file)
	if err != nil {
		return file
	}
	return filepath.ToSlash(name)
}
