package compiler

// search looks through regions of a space. It is exact, and bounded: once it has
// taken too many steps it finds nothing more, and says so.
type search struct {
	space *space
	steps int // left; below zero the answer is not known
}

// gaveUp reports whether the search ended for want of steps.
func (s *search) gaveUp() bool { return s.steps < 0 }

// look is formula.look, at the cost of a step for each literal.
func (s *search) look(f *formula, r region) (rel relation, n int, undecided *formula) {
	s.steps -= 1 + f.size
	return f.look(r)
}

// obstacle is a formula that takes its part out of a region.
type obstacle struct {
	*formula
	rule int  // whose formula it is
	used bool // it has taken something that a search came upon
}

// within divides the part of a region in which the formula holds into disjoint
// regions and calls then with each, until it says true; so does within. The region
// passed is r itself, narrowed for the time of the call.
func (s *search) within(r region, f *formula, then func() bool) bool {
	rel, _, lit := s.look(f, r)
	if s.gaveUp() {
		return false
	}
	switch rel {
	case outside:
		return false
	case covers:
		return then()
	}
	whole := r[lit.v]
	defer func() { r[lit.v] = whole }()
	s.steps -= len(whole) / 16
	r[lit.v] = intersect(whole, lit.ranges)
	if s.within(r, f, then) {
		return true
	}
	if f.isProduct() {
		return false // the rest of the region is outside
	}
	r[lit.v] = subtract(whole, lit.ranges)
	return s.within(r, f, then)
}

// isProduct reports whether the formula holds only where each of its literals does.
func (f *formula) isProduct() bool {
	if f.shape == literal {
		return true
	}
	if f.shape == anyOf {
		return false
	}
	for i := range f.parts {
		if f.parts[i].shape != literal {
			return false
		}
	}
	return true
}

// uncovered divides the part of a region that lies in no obstacle into disjoint
// regions and calls then with each, until it says true; so does uncovered. The
// obstacles that were needed are marked as used.
func (s *search) uncovered(r region, obstacles []*obstacle, then func() bool) bool {
	var undo []narrowed
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			r[undo[i].v] = undo[i].values
		}
	}()
	left, next, empty := s.survey(r, obstacles)
	for changed := true; changed && !empty; {
		if s.steps < 0 {
			return false
		}
		changed = false
		rest := make([]*obstacle, 0, len(left))
		for _, o := range left {
			rel, n, lit := s.look(o.formula, r)
			switch {
			case rel == outside:
			case rel == covers:
				o.used = true
				return false
			case n == 1:
				o.used, changed = true, true
				undo = append(undo, narrowed{lit.v, r[lit.v]})
				s.steps -= len(r[lit.v]) / 16
				r[lit.v] = subtract(r[lit.v], lit.ranges)
			default:
				rest = append(rest, o)
			}
		}
		left = rest
		if changed {
			left, next, empty = s.survey(r, left)
		}
	}
	switch {
	case empty || s.steps < 0:
		return false
	case len(left) == 0:
		return then()
	}
	_, _, lit := next.look(r)
	undo = append(undo, narrowed{lit.v, r[lit.v]})
	whole := r[lit.v]
	s.steps -= len(whole) / 16
	r[lit.v] = subtract(whole, lit.ranges)
	if s.uncovered(r, left, then) {
		return true
	}
	r[lit.v] = intersect(whole, lit.ranges)
	return s.uncovered(r, left, then)
}

// narrowed is what a variable's values were before.
type narrowed struct {
	v      int32
	values []Range
}

// survey keeps the obstacles that meet the region, and names the one that is
// nearest to covering it. Empty says that one does.
func (s *search) survey(r region, obstacles []*obstacle) (left []*obstacle, next *obstacle, empty bool) {
	left = make([]*obstacle, 0, len(obstacles))
	fewest := 0
	for _, o := range obstacles {
		rel, n, _ := s.look(o.formula, r)
		switch rel {
		case covers:
			o.used = true
			return nil, nil, true
		case partly:
			left = append(left, o)
			if next == nil || n < fewest {
				next, fewest = o, n
			}
		}
	}
	return left, next, false
}
