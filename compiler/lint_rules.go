package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// part is what a rule is for a question about who decides.
type part uint8

const (
	ignored part = iota // of no account
	fine                // its decisions are not looked for
	sought              // its decisions are
)

// decides finds a region within a formula that a sought rule, or if the default is
// sought the default, decides, and calls then with it until that is true. Rules that
// were needed to keep sought ones from deciding are marked in used, if given.
func (s *ruleSpace) decides(find *search, f *formula, part func(rule int) part, byDefault bool, used []bool, then func(r region) bool) bool {
	r := s.everything()
	return find.within(r, f, func() bool {
		var before []*obstacle
		defer func() {
			for _, o := range before {
				if o.used && used != nil {
					used[o.rule] = true
				}
			}
		}()
		here := func() bool { return then(r) }
		for i := range find.meeting(&s.rules, r) {
			p := part(i)
			if p == ignored {
				continue
			}
			rel, _, _ := find.look(s.rules.list[i], r)
			if find.gaveUp() {
				return false
			}
			switch {
			case rel == outside:
				continue
			case p == fine:
				before = append(before, &obstacle{formula: s.rules.list[i], rule: i, used: rel == covers})
			case find.within(r, s.rules.list[i], func() bool { return find.uncovered(r, before, here) }):
				return true
			}
			// A sought rule that decides nowhere here is no obstacle to those that follow:
			// where it matches, one before it decides.
			if rel == covers {
				return false
			}
		}
		return byDefault && find.uncovered(r, before, here)
	})
}

// rules reports rules that never decide, and rules that might as well not be there.
// What is answered soon comes first: some questions use up all steps there are.
func (l *linter) rules() {
	l.afterUnconditional()
	var shadowed, redundant []int // that may be
	for i := range l.policy.Rules {
		shadowed = append(shadowed, i)
	}
	for i := range slices.Backward(l.policy.Rules) {
		if !l.policy.Rules[i].Audit {
			redundant = append(redundant, i)
		}
	}
	for _, l.question = range [...]int{lintQuestion >> 8, lintQuestion} {
		shadowed = slices.DeleteFunc(shadowed, func(i int) bool { return l.gone[i] || l.shadowed(i) })
		redundant = slices.DeleteFunc(redundant, func(i int) bool {
			_, maybeShadowed := slices.BinarySearch(shadowed, i)
			return l.gone[i] || !maybeShadowed && l.redundant(i)
		})
	}
	l.open = slices.Concat(l.open, shadowed, redundant)
}

// thorough lets the questions that a finding needs for its text take all steps that a
// question may, until restored.
func (l *linter) thorough() (restore func()) {
	steps := l.question
	l.question = lintQuestion
	return func() { l.question = steps }
}

// afterUnconditional reports the rules after an enforced one without a condition,
// all at once.
func (l *linter) afterUnconditional() {
	rules := l.policy.Rules
	i := slices.IndexFunc(rules, func(r Rule) bool { return !r.Audit && isUnconditional(r.Cond) })
	if i < 0 || i == len(rules)-1 {
		return
	}
	next, more := &rules[i+1], ""
	if n := len(rules) - i - 2; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	d := l.report(lang.Warning, next.Span, codeAfterUnconditional, "", "rule `%s`%s cannot decide: `%s` matches every connection", next.ID, more, rules[i].ID)
	l.notes(d, []int{i}, "has no condition")
	for k := i + 1; k < len(rules); k++ {
		l.gone[k] = true
	}
}

// before are the rules that a rule gives way to: enforced ones, and for an audit
// rule all of them.
func (l *linter) before(rule int) func(i int) part {
	rules := l.policy.Rules
	return func(i int) part {
		if i < rule && (!rules[i].Audit || rules[rule].Audit) {
			return fine
		}
		return ignored
	}
}

// shadowed reports a rule that never decides.
func (l *linter) shadowed(rule int) (answered bool) {
	r := &l.policy.Rules[rule]
	used := make([]bool, len(l.policy.Rules))
	if found := l.reached(rule, l.before(rule), used); found != none {
		return found == some
	}
	l.gone[rule] = true
	shadows := l.fewest(rule, used)
	together := ""
	if len(shadows) > 1 {
		together = " together"
	}
	d := l.report(lang.Warning, r.Span, codeShadowedRule, "", "rule `%s` never decides: %s%s matches first wherever it matches", r.ID, l.names(shadows), together)
	if len(shadows) > 1 {
		d.Message = strings.Replace(d.Message, "matches first", "match first", 1)
	}
	l.notes(d, shadows, "matches first")
	return true
}

// reached asks whether a rule matches some connection that no fine rule matches.
func (l *linter) reached(rule int, part func(i int) part, used []bool) existence {
	return l.exists(func(s *ruleSpace, find *search) bool {
		return s.decides(find, s.rules.list[rule], part, true, used, s.real)
	})
}

// maxNamed is how many rules a finding names at most.
const maxNamed = 8

// fewest leaves out of the rules that shadow one those that it takes no more.
func (l *linter) fewest(rule int, used []bool) []int {
	var list []int
	for i, u := range used {
		if u {
			list = append(list, i)
		}
	}
	if len(list) > 4*maxNamed {
		return list
	}
	defer l.thorough()()
	for k := len(list) - 1; k >= 0 && len(list) > 1; k-- {
		fewer := slices.Delete(slices.Clone(list), k, k+1)
		still := l.reached(rule, func(i int) part {
			if slices.Contains(fewer, i) {
				return fine
			}
			return ignored
		}, nil)
		if still == none {
			list = fewer
		}
	}
	return list
}

func (l *linter) names(rules []int) string {
	var names []string
	for _, i := range rules[:min(len(rules), maxNamed)] {
		names = append(names, "`"+l.policy.RuleID(i)+"`")
	}
	if n := len(rules) - maxNamed; n > 0 {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", n)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return names[0]
}

func (l *linter) notes(d *lang.Diagnostic, rules []int, does string) {
	for _, i := range rules[:min(len(rules), maxNamed)] {
		if r := &l.policy.Rules[i]; r.Source != nil {
			d.Notes = append(d.Notes, lang.Note{Span: r.Span, Message: fmt.Sprintf("`%s` %s", r.ID, does)})
		}
	}
}

// limit says for which rules a question was too long to answer.
func (l *linter) limit() {
	if len(l.open) == 0 {
		return
	}
	slices.Sort(l.open)
	l.open = slices.Compact(l.open)
	l.report(lang.Info, l.policy.Rules[l.open[0]].Span, codeLintLimit, "", "whether %s decide anything, and change anything, was not found out within the limit of steps", l.names(l.open))
}

// effect is what a decision does.
type effect struct {
	verdict    lang.Verdict
	log, audit bool
}

func (p *Policy) effect(rule int) effect {
	if rule == len(p.Rules) {
		return effect{verdict: p.Default}
	}
	r := &p.Rules[rule]
	return effect{r.Verdict, r.Log, r.Audit}
}

// redundant reports a rule without which every connection would meet the same
// effect. Rules reported before are not relied on, so that all may be removed.
func (l *linter) redundant(rule int) (answered bool) {
	p := l.policy
	is := p.effect(rule)
	used := make([]bool, len(p.Rules))
	found := l.exists(func(s *ruleSpace, find *search) bool {
		return s.decides(find, s.rules.list[rule], func(i int) part {
			same := p.effect(i) == is
			switch {
			case i < rule && p.Rules[i].Audit, i == rule, l.gone[i] && same:
				return ignored
			case i < rule || same:
				return fine
			}
			return sought
		}, p.effect(len(p.Rules)) != is, used, s.real)
	})
	if found != none {
		return found == some
	}
	l.gone[rule] = true
	instead, others := l.instead(rule, used)
	d := l.report(lang.Warning, p.Rules[rule].Span, codeRedundantRule, "", "removing rule `%s` changes nothing: without it %s the same", p.Rules[rule].ID, instead)
	l.notes(d, others, "decides the same")
	return true
}

// instead names who decides without a redundant rule: rules after it if they see to
// all of it, else those of them that were needed and the default.
func (l *linter) instead(rule int, needed []bool) (text string, others []int) {
	defer l.thorough()()
	p := l.policy
	used := make([]bool, len(p.Rules))
	byDefault := l.reached(rule, func(i int) part {
		switch {
		case i < rule && !p.Rules[i].Audit, i > rule && !l.gone[i] && p.effect(i) == p.effect(rule):
			return fine
		}
		return ignored
	}, used) != none
	if byDefault {
		used = needed
	}
	for i := rule + 1; i < len(used); i++ {
		if used[i] {
			others = append(others, i)
		}
	}
	switch {
	case len(others) == 0:
		return "the default decides", nil
	case byDefault:
		return l.names(others) + " or the default decide", others
	case len(others) == 1:
		return l.names(others) + " decides", others
	}
	return l.names(others) + " decide", others
}

// partlyShadowed reports rules that one of the opposite verdict before them keeps
// from deciding in part.
func (l *linter) partlyShadowed() {
	p := l.policy
	for j := range p.Rules {
		if l.gone[j] || p.Rules[j].Audit || isUnconditional(p.Rules[j].Cond) {
			continue // what is left over for a rule without a condition is its purpose
		}
		takes := make([]bool, j)
		limited := false
		for k := range l.spaces {
			s := &l.spaces[k]
			find := &search{space: s.space, steps: min(lintQuestion, l.steps)}
			budget := find.steps
			s.takers(find, p, j, takes)
			l.steps = max(0, l.steps-(budget-find.steps))
			limited = limited || find.gaveUp()
		}
		var list []int
		for i, t := range takes {
			if t {
				list = append(list, i)
			}
		}
		if len(list) > 0 {
			d := l.report(lang.Warning, p.Rules[j].Span, codePartlyShadowed, "", "%s before it, of the opposite verdict, decides some of what rule `%s` matches", l.names(list), p.Rules[j].ID)
			if len(list) > 1 {
				d.Message = strings.Replace(d.Message, "decides", "decide", 1)
			}
			l.notes(d, list, "matches first")
		} else if limited {
			l.open = append(l.open, j)
		}
	}
}

// takers marks the rules before j, of the opposite verdict, that decide some of what
// it matches.
func (s *ruleSpace) takers(find *search, p *Policy, j int, takes []bool) {
	r := s.everything()
	find.within(r, s.rules.list[j], func() bool {
		var before []*obstacle
		for i := range find.meeting(&s.rules, r) {
			if i == j {
				break
			}
			if p.Rules[i].Audit {
				continue
			}
			rel, _, _ := find.look(s.rules.list[i], r)
			if rel == outside {
				continue
			}
			opposite := (p.Rules[i].Verdict == lang.Deny) != (p.Rules[j].Verdict == lang.Deny)
			if opposite && !takes[i] {
				takes[i] = find.within(r, s.rules.list[i], func() bool {
					return find.uncovered(r, before, func() bool { return s.real(r) })
				})
			}
			if rel == covers {
				return false
			}
			before = append(before, &obstacle{formula: s.rules.list[i], rule: i})
		}
		return false
	})
}

// setsNow says which rules are shadowed as long as the dynamic sets hold what they
// hold at the start: whether they are for good, the sets keep undecided.
func (l *linter) setsNow() {
	p := l.policy
	if len(p.Sets) == 0 {
		return
	}
	spaces, gone := l.spaces, slices.Clone(l.gone)
	l.spaces = newPolicySpaces(p.withFrozenSets(), true).spaces
	for i := range p.Rules {
		if gone[i] || l.reached(i, func(int) part { return ignored }, nil) != some {
			continue
		}
		used := make([]bool, len(p.Rules))
		if l.reached(i, l.before(i), used) == none {
			shadows := l.fewest(i, used)
			verb := map[bool]string{false: "come", true: "comes"}[len(shadows) == 1]
			l.report(lang.Info, p.Rules[i].Span, codeShadowedNow, "",
				"rule `%s` never decides while the dynamic sets hold what they start with: %s %s first; with other contents it may", p.Rules[i].ID, l.names(shadows), verb)
		}
	}
	l.spaces = spaces
}

// withFrozenSets is the policy with the contents of dynamic sets in their place.
func (p *Policy) withFrozenSets() *Policy {
	fixed := *p
	fixed.Sets, fixed.Rules = nil, slices.Clone(p.Rules)
	for i := range fixed.Rules {
		fixed.Rules[i].Cond = withTests(fixed.Rules[i].Cond, frozen)
	}
	return &fixed
}

// frozen is a test with the contents of a dynamic set in its place.
func frozen(test Cond) Cond {
	if x, ok := test.(InSet); ok {
		return In{x.Field, x.Set.Ranges}
	}
	return test
}
