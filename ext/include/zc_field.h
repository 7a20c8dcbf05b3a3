/* Bytes of field lines (RFC 9110 section 5.6.2 and 5.5): 1 may stand in a value only, 3 also in a name. */
#ifndef ZC_FIELD_H
#define ZC_FIELD_H

enum { ZC_VALUE = 1, ZC_TOKEN = 2 };

static const unsigned char zc_field_class[256] = {
    ['\t'] = 1,        [' '] = 1,         ['!'] = 3,         ['"'] = 1,         ['#' ... '\''] = 3,
    ['(' ... ')'] = 1, ['*' ... '+'] = 3, [','] = 1,         ['-' ... '.'] = 3, ['/'] = 1,
    ['0' ... '9'] = 3, [':' ... '@'] = 1, ['A' ... 'Z'] = 3, ['[' ... ']'] = 1, ['^' ... 'z'] = 3,
    ['{'] = 1,         ['|'] = 3,         ['}'] = 1,         ['~'] = 3,         [0x80 ... 0xff] = 1,
};

#endif
