// TensorRT behind plain C functions. Its libraries are opened at run time, so the program starts
// on boxes without them; of its headers only interfaces are used, hence no symbol to link.
// API floor: TensorRT 10.3 (JetPack 6). Strong typing is the one way of precision that 10, 11 and
// RTX share: the precision lies in the graph.
//
// No exception leaves this file: the library throws none, and memory is the only other cause.
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>

namespace {

using nvinfer1::ILogger;

// Keeps what the library complains of, for the error that follows; it logs from any thread.
class Log : public ILogger {
public:
    void log(Severity severity, char const* message) noexcept override {
        if (severity > Severity::kERROR || message == nullptr) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        const size_t used = std::strlen(kept_);
        if (used + 4 < sizeof kept_) {
            std::snprintf(kept_ + used, sizeof kept_ - used, "%s%s", used ? "; " : "", message);
        }
    }

    void copy(char* to, size_t size) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::snprintf(to, size, "%s", kept_);
    }

    void forget() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        kept_[0] = '\0';
    }

private:
    std::mutex mutex_;
    char kept_[2048] = "";
};

class Progress : public nvinfer1::IProgressMonitor {
public:
    using Report = bool (*)(void* user, char const* phase, int32_t step, int32_t steps);

    Progress(Report report, void* user) noexcept : report_(report), user_(user) {}

    // Only the outermost phase is told: its steps are the whole.
    void phaseStart(char const* phase, char const* parent, int32_t steps) noexcept override {
        if (parent == nullptr) {
            std::snprintf(phase_, sizeof phase_, "%s", phase ? phase : "");
            steps_ = steps;
        }
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override {
        if (phase == nullptr || std::strcmp(phase, phase_) != 0) return true;
        return report_(user_, phase_, step, steps_);
    }

    void phaseFinish(char const* phase) noexcept override {
        if (phase != nullptr && std::strcmp(phase, phase_) == 0) {
            report_(user_, phase_, steps_, steps_);
        }
    }

private:
    Report report_;
    void* user_;
    char phase_[128] = "";
    int32_t steps_ = 0;
};

void tell(char* error, size_t size, char const* what, char const* detail) noexcept {
    std::snprintf(error, size, "%s%s%s", what, *detail ? ": " : "", detail);
}

void tell(char* error, size_t size, char const* what, Log& log) noexcept {
    char detail[2048];
    log.copy(detail, sizeof detail);
    tell(error, size, what, detail);
}

}  // namespace

extern "C" {

// What went wrong, beside the text.
enum OnenipdTensorRtFailure {
    ONENIPD_TENSORRT_OK = 0,
    ONENIPD_TENSORRT_MISSING = 1,
    ONENIPD_TENSORRT_VERSION = 2,
    ONENIPD_TENSORRT_REFUSED = 3,
    ONENIPD_TENSORRT_STOPPED = 4,
};

struct OnenipdTensorRt {
    Log log;
    void* library = nullptr;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
};

struct OnenipdTensorRtPlan {
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
};

// Of the headers this was compiled with.
int32_t onenipd_tensorrt_header_version() {
    return NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
}

int32_t onenipd_tensorrt_header_major() {
    return NV_TENSORRT_MAJOR;
}

void onenipd_tensorrt_close(OnenipdTensorRt* runtime) {
    // The library stays open: it keeps threads and state of its own.
    delete runtime;
}

// Opens the library. Its major version is checked before anything of it is created.
int32_t onenipd_tensorrt_open(char const* path, OnenipdTensorRt** out, int32_t* version,
                              char* error, size_t size) {
    *out = nullptr;
    *version = 0;
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        char const* reason = dlerror();
        tell(error, size, "cannot be opened", reason ? reason : "");
        return ONENIPD_TENSORRT_MISSING;
    }
    auto get_version = reinterpret_cast<int32_t (*)()>(dlsym(library, "getInferLibVersion"));
    auto create =
        reinterpret_cast<void* (*)(void*, int32_t)>(dlsym(library, "createInferRuntime_INTERNAL"));
    if (get_version == nullptr || create == nullptr) {
        tell(error, size, "is not TensorRT", "");
        return ONENIPD_TENSORRT_MISSING;
    }
    *version = get_version();
    // From 10 on: major * 10000 + minor * 100 + patch; before: major * 1000.
    const int32_t major = *version >= 10000 ? *version / 10000 : *version / 1000;
    if (major != NV_TENSORRT_MAJOR) {
        tell(error, size, "has another major version", "");
        return ONENIPD_TENSORRT_VERSION;
    }
    std::unique_ptr<OnenipdTensorRt> opened(new (std::nothrow) OnenipdTensorRt);
    if (!opened) {
        tell(error, size, "no memory", "");
        return ONENIPD_TENSORRT_REFUSED;
    }
    opened->library = library;
    opened->runtime.reset(static_cast<nvinfer1::IRuntime*>(
        create(static_cast<ILogger*>(&opened->log), NV_TENSORRT_VERSION)));
    if (!opened->runtime) {
        tell(error, size, "creates no runtime", opened->log);
        return ONENIPD_TENSORRT_REFUSED;
    }
    *out = opened.release();
    return ONENIPD_TENSORRT_OK;
}

// Builds a plan from an ONNX graph. The plan is handed to `take` before this returns.
int32_t onenipd_tensorrt_build(OnenipdTensorRt* self, char const* parser_path, char const* graph,
                               size_t workspace_bytes, Progress::Report report, void* user,
                               void (*take)(void* user, void const* bytes, size_t count),
                               char* error, size_t size) {
    self->log.forget();
    void* parser_library = dlopen(parser_path, RTLD_NOW | RTLD_LOCAL);
    if (parser_library == nullptr) {
        char const* reason = dlerror();
        tell(error, size, "the ONNX parser cannot be opened", reason ? reason : "");
        return ONENIPD_TENSORRT_MISSING;
    }
    auto create_builder = reinterpret_cast<void* (*)(void*, int32_t)>(
        dlsym(self->library, "createInferBuilder_INTERNAL"));
    auto create_parser = reinterpret_cast<void* (*)(void*, void*, int32_t)>(
        dlsym(parser_library, "createNvOnnxParser_INTERNAL"));
    if (create_builder == nullptr || create_parser == nullptr) {
        tell(error, size, "the library holds no builder or no parser", "");
        return ONENIPD_TENSORRT_MISSING;
    }
    ILogger* log = &self->log;
    std::unique_ptr<nvinfer1::IBuilder> builder(
        static_cast<nvinfer1::IBuilder*>(create_builder(log, NV_TENSORRT_VERSION)));
    if (!builder) {
        tell(error, size, "no builder", self->log);
        return ONENIPD_TENSORRT_REFUSED;
    }
#if defined(TRT_MAJOR_RTX) || NV_TENSORRT_MAJOR >= 11
    const uint32_t flags = 0;  // strongly typed always
#else
    const uint32_t flags =
        1u << static_cast<int>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#endif
    std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(flags));
    std::unique_ptr<nvonnxparser::IParser> parser(
        network ? static_cast<nvonnxparser::IParser*>(
                      create_parser(network.get(), log, NV_ONNX_PARSER_VERSION))
                : nullptr);
    std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    if (!network || !parser || !config) {
        tell(error, size, "no network, parser or configuration", self->log);
        return ONENIPD_TENSORRT_REFUSED;
    }
    if (!parser->parseFromFile(graph, static_cast<int>(ILogger::Severity::kWARNING))) {
        char const* reason = parser->getNbErrors() > 0 ? parser->getError(0)->desc() : nullptr;
        if (reason != nullptr) {
            tell(error, size, "the graph is not understood", reason);
        } else {
            tell(error, size, "the graph is not understood", self->log);
        }
        return ONENIPD_TENSORRT_REFUSED;
    }
    config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, workspace_bytes);
    bool stopped = false;
    struct Watched {
        Progress::Report report;
        void* user;
        bool* stopped;
    } watched{report, user, &stopped};
    Progress progress(
        [](void* context, char const* phase, int32_t step, int32_t steps) {
            auto* watched = static_cast<Watched*>(context);
            const bool go_on = watched->report(watched->user, phase, step, steps);
            *watched->stopped |= !go_on;
            return go_on;
        },
        &watched);
    config->setProgressMonitor(&progress);
    std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    if (!plan) {
        tell(error, size, stopped ? "stopped" : "no plan", self->log);
        return stopped ? ONENIPD_TENSORRT_STOPPED : ONENIPD_TENSORRT_REFUSED;
    }
    take(user, plan->data(), plan->size());
    return ONENIPD_TENSORRT_OK;
}

void onenipd_tensorrt_unload(OnenipdTensorRtPlan* plan) {
    delete plan;
}

// Makes a plan runnable; needs a GPU and a current context.
int32_t onenipd_tensorrt_load(OnenipdTensorRt* self, void const* bytes, size_t count,
                              OnenipdTensorRtPlan** out, char* error, size_t size) {
    *out = nullptr;
    self->log.forget();
    std::unique_ptr<OnenipdTensorRtPlan> plan(new (std::nothrow) OnenipdTensorRtPlan);
    if (!plan) {
        tell(error, size, "no memory", "");
        return ONENIPD_TENSORRT_REFUSED;
    }
    plan->engine.reset(self->runtime->deserializeCudaEngine(bytes, count));
    if (!plan->engine) {
        tell(error, size, "the plan is not accepted", self->log);
        return ONENIPD_TENSORRT_REFUSED;
    }
    plan->context.reset(plan->engine->createExecutionContext());
    if (!plan->context) {
        tell(error, size, "no execution context", self->log);
        return ONENIPD_TENSORRT_REFUSED;
    }
    *out = plan.release();
    return ONENIPD_TENSORRT_OK;
}

// Tensor number `index`: false behind the last. `dimensions` has room for 8. Types: 0 FP32,
// 1 FP16, others as nvinfer1::DataType.
bool onenipd_tensorrt_tensor(OnenipdTensorRtPlan const* plan, int32_t index, char const** name,
                             bool* is_input, int64_t* dimensions, int32_t* count, int32_t* type) {
    if (index < 0 || index >= plan->engine->getNbIOTensors()) return false;
    *name = plan->engine->getIOTensorName(index);
    *is_input = plan->engine->getTensorIOMode(*name) == nvinfer1::TensorIOMode::kINPUT;
    const nvinfer1::Dims shape = plan->engine->getTensorShape(*name);
    *count = shape.nbDims;
    for (int32_t axis = 0; axis < shape.nbDims && axis < 8; ++axis) {
        dimensions[axis] = shape.d[axis];
    }
    *type = static_cast<int32_t>(plan->engine->getTensorDataType(*name));
    return true;
}

bool onenipd_tensorrt_bind(OnenipdTensorRtPlan* plan, char const* name, void* device_memory) {
    return plan->context->setTensorAddress(name, device_memory);
}

bool onenipd_tensorrt_enqueue(OnenipdTensorRtPlan* plan, void* stream) {
    return plan->context->enqueueV3(static_cast<cudaStream_t>(stream));
}

}  // extern "C"
