package compiler

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// allowComment is `# hopgate: allow CODE reason`.
var allowComment = regexp.MustCompile(`#\s*hopgate:\s*allow\b\s*([^\s#]*)[ \t]*(.*)`)

// unsilenced leaves out the warnings and notes that a comment `# hopgate: allow CODE
// reason` silences: on a line of the statement that the finding is about, or on the
// lines of comments directly above.
func unsilenced(ds lang.Diagnostics, statements []lang.Span) lang.Diagnostics {
	slices.SortFunc(statements, compareSpans)
	return slices.DeleteFunc(ds, func(d lang.Diagnostic) bool {
		if d.Severity == lang.Error || d.Source == nil {
			return false
		}
		i, found := slices.BinarySearchFunc(statements, d.Span, compareSpans)
		if !found {
			i--
		}
		if i >= 0 && statements[i].Source == d.Source && d.Start < statements[i].End {
			return silenced(d.Code, statements[i])
		}
		return silenced(d.Code, d.Span)
	})
}

func compareSpans(a, b lang.Span) int {
	return cmp.Or(cmp.Compare(a.Source.Name, b.Source.Name), cmp.Compare(a.Start, b.Start))
}

func silenced(code string, at lang.Span) bool {
	first, _ := at.Source.Position(at.Start)
	last, _ := at.Source.Position(max(at.Start, at.End-1))
	for first > 1 && strings.HasPrefix(strings.TrimSpace(at.Source.Line(first-1)), "#") {
		first--
	}
	for n := first; n <= last; n++ {
		if m := allowComment.FindStringSubmatch(at.Source.Line(n)); m != nil && m[1] == code && m[2] != "" {
			return true
		}
	}
	return false
}

// comments reports comments that mean to silence something and cannot.
func (l *linter) comments() {
	codes := map[string]bool{}
	var names []string
	for _, c := range slices.Concat(lang.Codes(), Codes()) {
		codes[c.Name] = true
		names = append(names, c.Name)
	}
	for _, source := range l.policy.sources() {
		for _, m := range allowComment.FindAllSubmatchIndex(source.Text, -1) {
			at := lang.Span{Source: source, Start: m[0], End: m[1]}
			code := string(source.Text[m[2]:m[3]])
			switch {
			case !codes[code]:
				l.report(lang.Warning, at, codeAllowComment, didYouMean(code, names), "there is no code `%s` to allow", cut(code, maxLiteral))
			case m[4] == m[5]:
				l.report(lang.Warning, at, codeAllowComment, fmt.Sprintf("write `# hopgate: allow %s` and the reason", code), "the comment gives no reason for allowing `%s`", code)
			}
		}
	}
}

// statements are the places of what the policy is made of, but for constant sets.
func (p *Policy) statements() (list []lang.Span) {
	add := func(s lang.Span) {
		if s.Source != nil {
			list = append(list, s)
		}
	}
	for i := range p.Rules {
		add(p.Rules[i].Span)
	}
	for i := range p.Asserts {
		add(p.Asserts[i].Span)
	}
	for i := range p.Tests {
		add(p.Tests[i].Span)
	}
	for _, s := range p.Sets {
		add(s.Span)
	}
	for _, i := range p.Interfaces {
		add(i.Span)
	}
	return list
}

// sources are the files that the policy's statements stand in.
func (p *Policy) sources() (list []*lang.Source) {
	for _, s := range p.statements() {
		if (len(list) == 0 || list[len(list)-1] != s.Source) && !slices.Contains(list, s.Source) {
			list = append(list, s.Source)
		}
	}
	return list
}
