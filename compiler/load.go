package compiler

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// Limits of the language, in bytes and in files.
const (
	maxPolicyFile  = 32 << 20
	maxSetFile     = 64 << 20
	maxImportDepth = 100
)

// readFile reads a file of the host, at most a byte more than the largest that
// the language allows.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSetFile+1))
}

// pathOf is the file that a word names, relative to the file the word stands in.
func pathOf(w *lang.Word) string {
	if w.Source == nil || filepath.IsAbs(w.Text) {
		return filepath.Clean(w.Text)
	}
	return filepath.Join(filepath.Dir(w.Source.Name), w.Text)
}

// open reads the file that a word names, of at most limit bytes.
func (c *checker) open(path *lang.Word, limit int) (text []byte, ok bool) {
	name := pathOf(path)
	text, err := c.opts.Open(name)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		c.errorf(path.Span, codeUnreadableFile, "cannot read `%s`: %v", name, err)
		return nil, false
	}
	if len(text) > limit {
		c.errorf(path.Span, codeLimit, "`%s` is larger than %d MiB", name, limit>>20)
		return nil, false
	}
	return text, true
}

// loader finds the files of a policy: first what a file imports, then the file.
type loader struct {
	*checker
	files []*lang.File
	seen  map[string]bool
	path  []*lang.Import // that led to the current file
}

func (l *loader) load(file *lang.File) {
	for _, imp := range file.Imports {
		l.path = append(l.path, imp)
		l.importFile(imp)
		l.path = l.path[:len(l.path)-1]
	}
	l.files = append(l.files, file)
}

func (l *loader) importFile(imp *lang.Import) {
	name := pathOf(&imp.Path)
	if l.cycle(imp, name) || l.seen[name] {
		return
	}
	l.seen[name] = true
	if len(l.path) > maxImportDepth {
		l.errorf(imp.Span, codeLimit, "imports nest deeper than %d", maxImportDepth)
		return
	}
	text, ok := l.open(&imp.Path, maxPolicyFile)
	if !ok {
		return
	}
	file, err := lang.Parse(name, text)
	var found lang.Diagnostics
	if errors.As(err, &found) {
		l.diags = append(l.diags, found...)
	}
	if file != nil {
		l.load(file)
	}
}

// cycle reports an import of a file that is being loaded.
func (l *loader) cycle(imp *lang.Import, name string) bool {
	first := -1
	for i, outer := range l.path {
		if outer.Source != nil && filepath.Clean(outer.Source.Name) == name {
			first = i
			break
		}
	}
	if first < 0 {
		return false
	}
	d := l.errorf(imp.Span, codeImportCycle, "`%s` imports itself", imp.Path.Text)
	if len(l.path)-first > 1 {
		d.Message = fmt.Sprintf("importing `%s` closes a cycle", imp.Path.Text)
	}
	for _, outer := range l.path[first : len(l.path)-1] {
		d.Notes = append(d.Notes, lang.Note{Span: outer.Span, Message: fmt.Sprintf("`%s` is imported here", outer.Path.Text)})
	}
	return true
}

// lines gives the literals of a set file, one a line, without comments and blank
// lines.
func lines(source *lang.Source) iter.Seq[lang.Word] {
	return func(yield func(lang.Word) bool) {
		text := string(source.Text)
		for start := 0; start < len(text); {
			end := len(text)
			if n := strings.IndexByte(text[start:], '\n'); n >= 0 {
				end = start + n
			}
			line := text[start:end]
			if n := strings.IndexByte(line, '#'); n >= 0 {
				line = line[:n]
			}
			indent := len(line) - len(strings.TrimLeft(line, " \t"))
			word := strings.TrimRight(line[indent:], " \t\r")
			at := lang.Span{Source: source, Start: start + indent, End: start + indent + len(word)}
			start = end + 1
			if word == "" {
				continue
			}
			name, ref := strings.CutPrefix(word, "$")
			if !yield(lang.Word{Span: at, Text: name, Ref: ref}) {
				return
			}
		}
	}
}

// setFile reads the file of a set.
func (c *checker) setFile(path *lang.Word) *lang.Source {
	text, ok := c.open(path, maxSetFile)
	if !ok {
		return nil
	}
	return lang.NewSource(pathOf(path), bytes.TrimPrefix(text, []byte("\ufeff")))
}
