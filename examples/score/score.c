/* Reads a TSV with a header and prints the probability of a positive for every row:

     cc -O2 -I "$I" -o score score.c -L . -ladagrad_score
     LD_LIBRARY_PATH=. ./score ctr.score < today.tsv

   with the library that adagrad/adagrad_score.h says how to compile. */
#include <adagrad/adagrad_score.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CELLS = 1024, LONGEST_LINE = 1 << 16 };

static void fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* Ends each cell of a line with a zero. */
static size_t split(char* line, char** cells) {
  size_t n = 0;
  line[strcspn(line, "\r\n")] = '\0';
  while (line != NULL && n < MOST_CELLS) {
    char* const tab = strchr(line, '\t');
    if (tab != NULL) *tab = '\0';
    cells[n++] = line;
    line = tab == NULL ? NULL : tab + 1;
  }
  return n;
}

/* The value of a cell, as the type of its column says. */
static adagrad_score_value value_of(const char* type, const char* cell) {
  adagrad_score_value value = {ADAGRAD_SCORE_NULL, 0, {0}};
  if (*cell == '\0') return value;
  if (strncmp(type, "int", 3) == 0) {
    value.type = ADAGRAD_SCORE_INTEGER;
    value.as.integer = strtoll(cell, NULL, 10);
  } else if (strcmp(type, "double") == 0) {
    value.type = ADAGRAD_SCORE_REAL;
    value.as.real = strtod(cell, NULL);
  } else {
    value.type = ADAGRAD_SCORE_TEXT;
    value.size = strlen(cell);
    value.as.text = cell;
  }
  return value;
}

int main(int argc, char** argv) {
  static char line[LONGEST_LINE], header[LONGEST_LINE];
  static char *cells[MOST_CELLS], *names[MOST_CELLS];
  static adagrad_score_value row[MOST_CELLS];
  static size_t places[MOST_CELLS]; /* of each column of the model in the file */
  char error[256];
  if (argc != 2) fail("usage: score EXPORT <ROWS.tsv");
  if (adagrad_score_abi() != ADAGRAD_SCORE_ABI) fail("the library is of another version");
  adagrad_score_model* const model = adagrad_score_open(argv[1], error, sizeof error);
  if (model == NULL) fail(error);
  const size_t n = adagrad_score_columns(model);
  if (n > MOST_CELLS || fgets(header, sizeof header, stdin) == NULL) fail("no header");
  const size_t n_names = split(header, names);
  for (size_t c = 0; c < n; ++c) {
    const char* const name = adagrad_score_column_name(model, c);
    while (places[c] < n_names && strcmp(names[places[c]], name) != 0) ++places[c];
    if (places[c] == n_names) fail(name);
  }
  while (fgets(line, sizeof line, stdin) != NULL) {
    double probability = 0;
    if (split(line, cells) != n_names) fail("a row has another number of cells than the header");
    for (size_t c = 0; c < n; ++c) {
      row[c] = value_of(adagrad_score_column_type(model, c), cells[places[c]]);
    }
    if (adagrad_score_predict(model, row, 1, &probability, error, sizeof error) != 1) fail(error);
    printf("%.17g\n", probability);
  }
  adagrad_score_close(model);
  return 0;
}
