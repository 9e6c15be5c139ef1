package lang

func parseYAML(file *File, errs *report) {}
