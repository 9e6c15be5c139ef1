package proof

import (
	"cmp"
	"errors"
	"slices"
)

// byPaths proves along the paths of the program. Along a path the box shrinks and
// with it the rules that can still be the first to match; a path ends where the
// program and the rules have one answer left, or where they differ. This is the way
// where nothing shows which rule decided.
func (p *part) byPaths(b []set) error {
	w := &walk{part: p, left: maxSteps}
	rules := make([]int32, len(p.policy.Rules))
	for i := range rules {
		rules[i] = int32(i)
	}
	w.answers()
	return cmp.Or(w.follow(p.graph.root, b, w.candidates(rules, b)), w.doubt)
}

type walk struct {
	*part
	left  int
	doubt error      // that a path was left undecided
	ends  [][]answer // by node: the answers that it leads to, nil for more than a few
}

// candidates keeps the rules that can be the first to match in the box: those that
// may match, up to the first enforced one that does everywhere.
func (w *walk) candidates(rules []int32, b []set) []int32 {
	var kept []int32
	audited := false // an audit rule matches everywhere
	for _, i := range rules {
		audit := w.policy.Rules[i].Audit
		if audit && audited {
			continue
		}
		switch w.match[i].on(b) {
		case never_:
			continue
		case always:
			kept = append(kept, i)
			if !audit {
				return kept
			}
			audited = true
		default:
			kept = append(kept, i)
		}
	}
	return kept
}

// expectations are the answers that the candidates can give in the box, no more than
// two of them.
func (w *walk) expectations(rules []int32, b []set) []answer {
	var list []answer
	add := func(a answer) {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	audits := []int{-1}
	end := len(w.policy.Rules)
	for _, i := range rules {
		if w.policy.Rules[i].Audit {
			if w.match[i].on(b) == always {
				audits = slices.DeleteFunc(audits, func(a int) bool { return a < 0 })
			}
			audits = append(audits, int(i))
			continue
		}
		for _, a := range audits {
			add(w.expected(int(i), a))
		}
		if w.match[i].on(b) == always || len(list) > 1 {
			return list
		}
	}
	for _, a := range audits {
		add(w.expected(end, a))
	}
	return list
}

// answers collects what each node leads to.
func (w *walk) answers() {
	w.ends = make([][]answer, len(w.graph.nodes))
	order := w.graph.order
	for i := len(order) - 1; i >= 0; i-- {
		id := order[i]
		n := &w.graph.nodes[id]
		if n.tail {
			if a, ok := w.tails[id]; ok {
				w.ends[id] = []answer{a}
			}
			continue
		}
		var list []answer
		for _, kid := range n.kids {
			for _, a := range w.ends[kid] {
				if !slices.Contains(list, a) && len(list) < 2 {
					list = append(list, a)
				}
			}
		}
		w.ends[id] = list
	}
}

func (w *walk) follow(id int32, b []set, rules []int32) error {
	w.result.Steps++
	if w.left--; w.left < 0 {
		return errSteps
	}
	if err := w.effort.spend(perNode + len(rules)); err != nil {
		return err
	}
	want := w.expectations(rules, b)
	ends := w.ends[id]
	if len(want) == 1 && len(ends) == 1 {
		if want[0] == ends[0] {
			return nil
		}
		return w.differs(b, ends[0])
	}
	if len(ends) == 1 {
		return w.divide(id, b, rules)
	}
	var err error
	w.graph.forward(id, b, nil, slices.Clone[[]set], func(kid int32, part []set) {
		if err == nil {
			err = w.follow(kid, part, w.candidates(rules, part))
		}
	})
	return err
}

// divide cuts the box where it depends on a rule's condition which answer is due.
func (w *walk) divide(id int32, b []set, rules []int32) error {
	for _, i := range rules {
		f := w.match[i]
		if f.on(b) != varies {
			continue
		}
		for _, c := range f.halves(b) {
			if err := w.follow(id, c, w.candidates(rules, c)); err != nil {
				return err
			}
		}
		return nil
	}
	return w.differs(b, w.ends[id][0])
}

// differs looks for a connection that shows a difference. Where it finds none, others
// on other paths may.
func (w *walk) differs(b []set, a answer) error {
	err := w.refute(b, a)
	if errors.Is(err, errDoubt) {
		w.doubt = err
		w.left -= 1000
		return nil
	}
	return err
}
