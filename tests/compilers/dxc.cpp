// dxc LIBRARY FOLDER PART PARTS: compiles every PARTS-th entry point of FOLDER/index.tsv from the
// PART-th on with libdxcompiler, as wgpu-hal does. The declarations are what is called of DXC's
// interfaces, in the order of their tables.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

struct Guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};

struct Unknown {
    virtual int32_t query(const Guid&, void**) = 0;
    virtual uint32_t add_reference() = 0;
    virtual uint32_t release() = 0;
};

struct Blob : Unknown {
    virtual void* pointer() = 0;
    virtual size_t size() = 0;
};

struct Result : Unknown {
    virtual int32_t status(int32_t*) = 0;
    virtual int32_t result(Blob**) = 0;
    virtual int32_t errors(Blob**) = 0;
};

struct Source {
    const void* pointer;
    size_t size;
    uint32_t encoding;
};

struct Compiler : Unknown {
    virtual int32_t compile(const Source*, const wchar_t** arguments, uint32_t count, void* includes,
                            const Guid&, void** result) = 0;
};

static const Guid COMPILER_CLASS = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const Guid COMPILER = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const Guid RESULT = {0x58346cda, 0xdde7, 0x4497, {0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59}};
static const uint32_t UTF8 = 65001;

static Compiler* compiler;

// What the compiler says against a text; nothing where it compiles.
static std::string failure(const std::string& text, const std::string& entry) {
    const std::wstring name(entry.begin(), entry.end());
    const wchar_t* arguments[] = {L"-E",  name.c_str(), L"-T",          L"cs_6_0",
                                  L"-HV", L"2018",      L"-no-warnings", L"-Ges"};
    const Source source = {text.data(), text.size(), UTF8};
    Result* result = nullptr;
    int32_t status = compiler->compile(&source, arguments, sizeof arguments / sizeof *arguments,
                                       nullptr, RESULT, reinterpret_cast<void**>(&result));
    if (status || !result) {
        return "the compiler does not answer";
    }
    std::string said;
    Blob* errors = nullptr;
    if (!result->errors(&errors) && errors && errors->size() > 0) {
        said.assign(static_cast<const char*>(errors->pointer()), errors->size());
    }
    if (errors) {
        errors->release();
    }
    // Without dxil.dll nothing is signed, which is said and no error.
    if (result->status(&status) || status) {
        said = "error: " + said;
    } else {
        said.clear();
    }
    result->release();
    return said;
}

static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// What naga makes of an alias: two constructors of one name, which must be refused.
static const char* REFUSED = "typedef float ret_a[2]; ret_a Construct(float x) { float r[2] = { x, x }; return r; }\n"
                             "typedef float ret_b[2]; ret_b Construct(float x) { float r[2] = { x, x }; return r; }\n"
                             "[numthreads(1, 1, 1)] void main() {}\n";

int main(int, char** argv) {
    void* library = dlopen(argv[1], RTLD_NOW);
    if (!library) {
        printf("FAILED: %s\n", dlerror());
        return 1;
    }
    typedef int32_t (*Create)(const Guid&, const Guid&, void**);
    auto create = reinterpret_cast<Create>(dlsym(library, "DxcCreateInstance"));
    if (!create || create(COMPILER_CLASS, COMPILER, reinterpret_cast<void**>(&compiler))) {
        printf("FAILED: %s makes no compiler\n", argv[1]);
        return 1;
    }
    if (failure(REFUSED, "main").empty()) {
        printf("FAILED: DXC takes two functions of one name\n");
        return 1;
    }
    const std::string folder = argv[2];
    const int part = atoi(argv[3]), parts = atoi(argv[4]);
    std::ifstream index(folder + "/index.tsv");
    std::string line;
    int compiled = 0, failed = 0;
    for (int i = 0; std::getline(index, line); i++) {
        if (i % parts != part) {
            continue;
        }
        std::vector<std::string> fields;
        std::stringstream rest(line);
        for (std::string field; std::getline(rest, field, '\t');) {
            fields.push_back(field);
        }
        const std::string why = failure(read(folder + "/" + fields[1] + ".hlsl"), fields[3]);
        if (why.empty()) {
            compiled++;
        } else {
            failed++;
            printf("FAILED %s, %s (%s.hlsl): %.600s\n", fields[6].c_str(), fields[2].c_str(),
                   fields[1].c_str(), why.c_str());
        }
    }
    printf("%d compiled, %d failed\n", compiled, failed);
    fflush(stdout);
    // The compiler's own end takes its time.
    _Exit(failed != 0);
}
