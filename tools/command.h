/*
 * Commands of softvt that start no machine: softvt NAME ... runs NAME's function with NAME as argv[0]. The result is the exit status.
 */
#pragma once

int caps_main(int argc, char **argv);
