package lang

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// syntaxError reports what yaml.v3 could not read. Its own line is that of the
// construct around the error, often, and it knows no column; so the error is laid
// on the first line with which the text up to there fails in the same way.
func (d *document) syntaxError(err error) {
	problem := problemOf(err)
	fails := d.failure(problem)
	line := d.linesUntilError()
	step := 1
	for line-step >= 1 && fails(line-step) {
		line -= step
		step *= 2
	}
	for ; step >= 1; step /= 2 {
		for line-step >= 1 && fails(line-step) {
			line -= step
		}
	}
	text := d.source.Line(line)
	start := d.source.lines[line-1]
	at := Span{d.source, start, start + len(strings.TrimRight(text, " \t"))}
	if strings.Contains(problem, "exceeded max depth") { // yaml.v3's limit is far above ours
		d.errorf(at, codeLimit, "the value nests deeper than %d", maxDepth)
		return
	}
	d.errorf(at, codeYAMLSyntax, "not YAML: %s", problem).Hint = d.syntaxHint(problem, text, d.source.Line(line-1))
}

// problemOf gives yaml.v3's message without its line.
func problemOf(err error) string {
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(problem, "line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			return after
		}
	}
	return problem
}

// linesUntilError gives the number of lines that yaml.v3 reads before it fails.
func (d *document) linesUntilError() int {
	r := &lineReader{rest: d.source.Text}
	decoder := yaml.NewDecoder(r)
	for {
		var n yaml.Node
		if decode(decoder, &n) != nil {
			return d.source.lineOf(max(0, len(d.source.Text)-len(r.rest)-1))
		}
	}
}

// lineReader hands out no more than a line a read.
type lineReader struct{ rest []byte }

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := bytes.IndexByte(r.rest, '\n') + 1
	if n == 0 {
		n = len(r.rest)
	}
	n = copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

// failure returns a function that reports whether the text up to and including a
// line has the problem. After some megabytes of text it gives up and says no.
func (d *document) failure(problem string) func(line int) bool {
	budget := 4 << 20
	return func(line int) bool {
		end := len(d.source.Text)
		if line < len(d.source.lines) {
			end = d.source.lines[line]
		}
		if budget -= end; budget < 0 {
			return false
		}
		decoder := yaml.NewDecoder(bytes.NewReader(d.source.Text[:end]))
		for {
			var n yaml.Node
			if err := decode(decoder, &n); err != nil {
				return !errors.Is(err, io.EOF) && problemOf(err) == problem
			}
		}
	}
}

const sameColumn = "the keys of one block, and the `-` of one list, begin in the same column"

// deeper reports whether a line is indented more than the one before it, which ends in
// a value. The `-` of a list counts as a blank.
func deeper(line, before string) bool {
	column := func(s string) int { return len(s) - len(strings.TrimLeft(s, " -")) }
	before = strings.TrimRight(before, " ")
	return column(line) > column(before) && !strings.HasSuffix(before, ":")
}

// syntaxHint says what to write instead, where that can be told from the line and the
// one before it.
func (d *document) syntaxHint(problem, line, before string) string {
	if v6 := unquotedV6(line); v6 != "" {
		return "write `'" + v6 + "'`"
	}
	indentation := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(problem, "tab character"), strings.Contains(indentation, "\t"):
		return "indent with spaces"
	case invisibleHint(line) != "":
		return invisibleHint(line)
	case strings.Contains(problem, "expected '-' indicator"):
		return sameColumn
	case strings.Contains(problem, "cannot start any token"):
		return "put a value that begins with `@`, `%` or a backquote in quotes"
	case strings.Contains(problem, "mapping values are not allowed"):
		if deeper(line, before) {
			return sameColumn
		}
		return "put a value that contains `: ` or ends in `:` in quotes"
	case strings.Contains(problem, "end of stream"), strings.Contains(problem, "document indicator"):
		return "a quote is not closed"
	}
	return ""
}

// unquotedV6 finds what YAML cannot take for an address unless it is quoted:
// `[::1]`, `[::1]:443`, `fd00::`.
func unquotedV6(line string) string {
	address := regexp.MustCompile(`(?:^|[\s,{\[])(\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\](?::[0-9-]+(?:/\w+)?)?|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*::)(?:$|[\s,}\]])`)
	if m := address.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}
