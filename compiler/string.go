package compiler

func (c All) String() string         { return "" }
func (c Any) String() string         { return "" }
func (c Not) String() string         { return "" }
func (c In) String() string          { return "" }
func (c Unknown) String() string     { return "" }
func (c InSet) String() string       { return "" }
func (c IsInterface) String() string { return "" }
